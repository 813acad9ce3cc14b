// kube is the part of Kubernetes that answers API requests, in one binary: the
// name it is called by (a symlink) says which component it is. Each directory
// beside this file is the module of one minor version, with a link to this file
// as its only source. For a new one copy the newest, put the new numbers into
// its go.mod, and run `go mod tidy`; all of k8s.io goes by the same number. 1.32
// is at 1.32.2 because the module proxy lacks parts of later ones.
package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
)

func main() {
	var command *cobra.Command
	switch name := filepath.Base(os.Args[0]); name {
	case "etcd":
		etcdmain.Main(os.Args)
		return
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllermanager.NewControllerManagerCommand()
	case "kubectl":
		command = kubectl.NewDefaultKubectlCommand()
	default:
		os.Stderr.WriteString("not a component: " + name + "\n")
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
