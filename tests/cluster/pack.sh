# shellcheck shell=bash
# Sourced: how an image is made without a container engine, of files that are here. The same files and settings make the
# same image, byte for byte.

# `stage` puts a program among an image's files. What it is linked with comes along, to where its loader looks for it: where
# it is here.
stage() { # DIR PROGRAM PATH
  local libraries library
  install -D "$2" "$1$3"
  libraries=$(ldd "$2" 2>/dev/null) || return 0 # a static program
  [[ $libraries == *.so* ]] || return 0 # one that is position-independent, too
  grep -o '/[^ ]*' <<<"$libraries" | while read -r library; do
    install -D "$library" "$1$library"
  done
  # Without it glibc asks DNS for `localhost`, before /etc/hosts.
  install -d "$1/etc"
  echo 'hosts: files dns' >"$1/etc/nsswitch.conf"
}

# Without an entry for DIR itself: it may be its maker's alone, and the image's root may not.
tar_of() { # DIR: to stdout
  find "$1" -mindepth 1 -maxdepth 1 -printf '%P\0' | LC_ALL=C sort -z |
    tar -C "$1" --format=gnu --owner=0 --group=0 --numeric-owner --mtime=@0 --sort=name --null -c -T -
}

# A layer (a tar of the files), a config that names the layer by its digest, and a manifest that names both.
pack_image() { # [--user UID] [--workdir PATH] [--cmd WORD] REFERENCE DIR OUT.tar [ENTRYPOINT...]
  local user='' workdir=/ cmd=() dir
  while [[ $1 == --* ]]; do
    case $1 in
      --user) user=$2 ;;
      --workdir) workdir=$2 ;;
      --cmd) cmd=("$2") ;;
      *) echo "error: \`$1\` is no setting of an image" >&2; return 2 ;;
    esac
    shift 2
  done
  dir=$(mktemp -d)
  tar_of "$2" >"$dir/layer.tar"
  cat >"$dir/config.json" <<JSON
{"architecture": "$(go env GOARCH)", "os": "linux",
 "config": {"User": "$user", "WorkingDir": "$workdir", "Entrypoint": $(json_list "${@:4}"), "Cmd": $(json_list "${cmd[@]}"),
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
 "rootfs": {"type": "layers", "diff_ids": ["sha256:$(sha256sum <"$dir/layer.tar" | cut -d' ' -f1)"]}}
JSON
  cat >"$dir/manifest.json" <<JSON
[{"Config": "config.json", "RepoTags": ["$1"], "Layers": ["layer.tar"]}]
JSON
  tar_of "$dir" >"$3"
  rm -r "$dir"
}

json_list() { # WORD...: without anything to escape
  local list=''
  [[ $# == 0 ]] || list=$(printf ', "%s"' "$@")
  echo "[${list#, }]"
}

# `keep_image` packs an image once, below $OUTRIGGER_CLUSTER_HOME, and prints its file, which is named by what is in it. Of a
# reference the last image is kept.
keep_image() { # [SETTING OF pack_image]... REFERENCE DIR [ENTRYPOINT...]
  local settings=() file key
  while [[ $1 == --* ]]; do
    settings+=("$1" "$2")
    shift 2
  done
  file=${OUTRIGGER_CLUSTER_HOME:-$HOME/.cache/outrigger-cluster}/images/${1//[\/:]/_}
  key=$({ cat "${BASH_SOURCE[0]}"; echo "${settings[@]}" "$1" "${@:3}"; tar_of "$2"; } | sha256sum | cut -c1-12)
  if [[ ! -e $file-$key.tar ]]; then
    mkdir -p "${file%/*}"
    pack_image "${settings[@]}" "$1" "$2" "$file-$key.tar.$$" "${@:3}"
    rm -f "$file"-????????????.tar
    mv "$file-$key.tar.$$" "$file-$key.tar"
  fi
  echo "$file-$key.tar"
}
