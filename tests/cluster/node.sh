# shellcheck shell=bash
# shellcheck disable=SC2154 # here, run, pki, node_ip, service_cidr: of `cluster`
# Sourced by `cluster`: what makes a node of this machine, and what clears it of one.

node=node
pod_cidr=10.244.0.0/24
dns_ip=10.96.0.10
# What a node leaves in the kernel and outside its home, by these names only.
bridge=cluster0
cgroup=outrigger-cluster
device_socket=/var/lib/kubelet/device-plugins/kubelet.sock # wherever a kubelet's root is

make_node_pki() {
  cert kubelet-server "/CN=$node" "DNS:$node,IP:$node_ip"
  kubeconfig kubelet "/O=system:nodes/CN=system:node:$node"
  kubeconfig kube-scheduler /CN=system:kube-scheduler
  kubeconfig kube-proxy /CN=system:kube-proxy
}

start_node() {
  start kube-scheduler kube-scheduler --kubeconfig "$run/kube-scheduler.kubeconfig" --bind-address 127.0.0.1 --leader-elect=false
  start_kubelet
  # Without a word on connection tracking it would set the machine's limits.
  start kube-proxy kube-proxy --kubeconfig "$run/kube-proxy.kubeconfig" --hostname-override "$node" \
    --proxy-mode nftables --cluster-cidr "$pod_cidr" --bind-address "$node_ip" \
    --conntrack-max-per-core 0 --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
  sed "s/@DNS_IP@/$dns_ip/" "$here/coredns.yaml" | kubectl apply -f - >/dev/null
  wait_for kubelet 60 kubectl get node "$node"
  kubectl wait --for condition=Ready node "$node" --timeout 60s >/dev/null
  kubectl -n kube-system rollout status deployment coredns --timeout 60s >/dev/null
}

make_network() {
  if [[ -e /sys/class/net/$bridge || -e $device_socket ]] || nft list table ip kube-proxy >/dev/null 2>&1; then
    die "this machine is a node already: there is a link $bridge, a socket $device_socket, or a kube-proxy's rules"
  fi
  modprobe br_netfilter 2>/dev/null || true # built into some kernels
  # Some are the kubelet's to change. `down` puts them back.
  sysctl -e net.ipv4.ip_forward net.bridge.bridge-nf-call-iptables vm.overcommit_memory vm.panic_on_oom \
    kernel.panic kernel.panic_on_oops kernel.keys.root_maxkeys kernel.keys.root_maxbytes >"$run/network" 2>/dev/null
  sysctl -qw net.ipv4.ip_forward=1 net.bridge.bridge-nf-call-iptables=1
  ip link add "$bridge" type bridge
  ip addr add "$node_ip/24" dev "$bridge"
  ip link set "$bridge" up
  # A packet to a service needs a route before kube-proxy's rules see it.
  ip route add "$service_cidr" dev "$bridge"
  # Pods have no route out of the cluster.
  mkdir -p "$run/cni"
  cat >"$run/cni/10-bridge.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "$cgroup", "plugins": [
  {"type": "bridge", "bridge": "$bridge", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "dataDir": "$run/ipam", "ranges": [[{"subnet": "$pod_cidr"}]],
            "routes": [{"dst": "$service_cidr"}]}}]}
JSON
}

# All Pods are in one control group, so that `down` finds every process of theirs, and none of another cluster's.
make_cgroup() {
  local controller controllers
  if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
    read -ra controllers </sys/fs/cgroup/cgroup.controllers
    for controller in "${controllers[@]}"; do
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || true # the kubelet says if it needs it
    done
    mkdir -p "/sys/fs/cgroup/$cgroup"
  else
    for controller in /sys/fs/cgroup/*/; do
      mkdir -p "$controller$cgroup"
    done
  fi
}

start_containerd() {
  cat >"$run/containerd.toml" <<TOML
version = 3
root = "$run/containerd"
state = "$run/containerd-state"
[grpc]
address = "$run/containerd.sock"
[plugins.'io.containerd.internal.v1.opt']
path = "$run/opt"
[plugins.'io.containerd.cri.v1.images']
snapshotter = "overlayfs"
[plugins.'io.containerd.cri.v1.images'.pinned_images]
sandbox = "localhost/pause:1"
[plugins.'io.containerd.cri.v1.runtime']
netns_mounts_under_state_dir = true
# Some machines' root may not lower a process's OOM score (no CAP_SYS_RESOURCE).
restrict_oom_score_adj = true
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
options = {Root = "$run/runc"}
[plugins.'io.containerd.cri.v1.runtime'.cni]
bin_dirs = ["/usr/lib/cni"]
conf_dir = "$run/cni"
TOML
  start containerd containerd --config "$run/containerd.toml"
  wait_for containerd 30 ctr version
  load_packed pause coredns busybox
}

start_kubelet() {
  : >"$run/resolv.conf" # Pods know the cluster's names only
  cat >"$run/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $node_ip
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: "$pki/kubelet-server.crt"
tlsPrivateKeyFile: "$pki/kubelet-server.key"
containerRuntimeEndpoint: "unix://$run/containerd.sock"
cgroupDriver: cgroupfs
cgroupRoot: "/$cgroup"
failCgroupV1: false
failSwapOn: false
clusterDNS: ["$dns_ip"]
clusterDomain: cluster.local
resolvConf: "$run/resolv.conf"
# They are for other tools, and would stay on the machine.
makeIPTablesUtilChains: false
# A full disk of the machine is not the tests' concern.
evictionHard: {nodefs.available: 0%, imagefs.available: 0%, nodefs.inodesFree: 0%, memory.available: 10Mi}
imageGCHighThresholdPercent: 100
podLogsDir: "$run/pod-logs"
volumePluginDir: "$run/volume-plugins"
YAML
  start kubelet kubelet --config "$run/kubelet.yaml" --kubeconfig "$run/kubelet.kubeconfig" \
    --root-dir "$run/kubelet" --cert-dir "$run/kubelet/pki" --hostname-override "$node" --node-ip "$node_ip"
}

ctr() {
  CONTAINERD_SUPPRESS_DEPRECATION_WARNINGS=1 command ctr --address "$run/containerd.sock" --namespace k8s.io "$@"
}

load_image() { # FILE...
  local file
  [[ -S $run/containerd.sock ]] || die "no node is up"
  for file; do
    ctr images import --label io.cri-containerd.pinned=pinned "$file" >/dev/null
  done
}

load_packed() { # NAME...
  local packed
  packed=$("$here/images" "$@")
  cut -f3 <<<"$packed" | while read -r file; do load_image "$file"; done
}

clear_node() {
  local pids bundle family
  # containerd's shims outlive it; they are known by the socket they report to.
  pgrep -f "^[^ ]*/containerd-shim-runc-v2 .* -address $run/containerd.sock" | xargs -r kill -9 || true
  while pids=$(pod_pids) && [[ -n $pids ]]; do
    xargs kill -9 <<<"$pids" 2>/dev/null || true
    sleep 0.05
  done
  for bundle in "$run"/containerd-state/io.containerd.runtime.v2.task/k8s.io/*/bootstrap.json; do
    [[ ! -e $bundle ]] || sed 's/.*"unix:\/\/\([^"]*\)".*/\1/' "$bundle" | xargs rm -f
  done
  # Deepest mounts first: Pods' volumes, root file systems, network namespaces.
  awk -v dir="$run/" 'index($2, dir) == 1 { print $2 }' /proc/self/mounts | sort -r | xargs -r umount --lazy
  ip link delete "$bridge" 2>/dev/null || true
  for family in ip ip6; do
    nft delete table "$family" kube-proxy 2>/dev/null || true
  done
  find /sys/fs/cgroup/{,*/}"$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  sysctl -qe -p "$run/network" >/dev/null 2>&1 || true
  # What has its place outside, whatever the settings say.
  find /var/log/containers -lname "$run/*" -delete 2>/dev/null || true
  grep -lsr "$run/" /var/lib/cni/results | xargs -r rm || true
  rm -f "$device_socket"
  rmdir /var/log/containers /var/lib/cni/{results,} /var/lib/kubelet/{device-plugins,} /run/containerd/{s,} 2>/dev/null || true
}

pod_pids() {
  { find /sys/fs/cgroup/{,*/}"$cgroup" -name cgroup.procs -exec cat {} + 2>/dev/null || true; } | sort -un
}
