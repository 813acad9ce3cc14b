// shop is an app to put helpers beside: it answers /healthz, and any other path
// with the request as it came, so that a test sees what a proxy before it made
// of it. $PORT is its port, 8080 if it is unset.
package main

import (
	"cmp"
	"context"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	http.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %s\nHost: %s\n", r.Method, r.RequestURI, r.Proto, r.Host)
		r.Header.Write(w)
	})

	stopped, _ := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	server := &http.Server{Addr: ":" + cmp.Or(os.Getenv("PORT"), "8080")}
	go func() { log.Fatal(server.ListenAndServe()) }()
	<-stopped.Done()
	server.Shutdown(context.Background())
}
