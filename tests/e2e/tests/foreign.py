"""A mutating webhook of somebody else's: each Pod gets a container called `foreign`, unless it has one.

foreign.py CERTIFICATE KEY IMAGE prints its port and serves on 127.0.0.1 until it is killed.
"""

import base64
import http.server
import json
import ssl
import sys

certificate, key, image = sys.argv[1:]
FOREIGN = {"name": "foreign", "image": image, "command": ["sleep", "100000"]}


class Webhook(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review.pop("request")
        response = {"uid": request["uid"], "allowed": True}
        if all(container["name"] != "foreign" for container in request["object"]["spec"]["containers"]):
            patch = [{"op": "add", "path": "/spec/containers/-", "value": FOREIGN}]
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        body = json.dumps(review | {"response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
tls.load_cert_chain(certificate, key)
server.socket = tls.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.serve_forever()
