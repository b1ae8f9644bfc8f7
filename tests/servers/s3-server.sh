#!/usr/bin/env bash
# A real S3 server for tests: one-node Ceph (monitor, one store in memory, gateway) on loopback.
#   s3-server.sh DIR PORT      PORT and PORT+1 are free, DIR is ours to fill; its path is short
# Prints `ready` once it answers; ends when its standard input does, so with whoever started it,
# however that one dies, and takes every process of its own along, however it dies itself.
# Keys: $S3_ACCESS_KEY and $S3_SECRET_KEY. Needs Debian's packages radosgw ceph-osd ceph-mon ceph-common.
# It checks signatures and expiry; additional checksums are not stored.
set -euo pipefail
dir=${1:?directory} port=${2:?port} mon=$((${2} + 1))
mkdir -p "$dir"/{mon,osd,run,log}
export CEPH_CONF="$dir/ceph.conf"
fsid=$(cat /proc/sys/kernel/random/uuid)
cat > "$CEPH_CONF" <<CONF
[global]
fsid = $fsid
mon host = v2:127.0.0.1:$mon/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
ms mon client mode = crc
ms mon service mode = crc
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon max pg per osd = 2000
run dir = $dir/run
admin socket = $dir/run/\$name.asok
pid file = $dir/run/\$name.pid
log file = $dir/log/\$name.log
crash dir = $dir/log
setuser match path =
[mon.a]
mon data = $dir/mon
mon data avail crit = 1
[osd.0]
osd data = $dir/osd
osd objectstore = memstore
memstore device bytes = 1073741824
osd memory target = 939524096
[client.rgw]
rgw lc debug interval = 0
rgw frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1
rgw dns name =
rgw thread pool size = 32
CONF

# A daemon in the foreground, killed by the kernel when this script is gone.
daemon() { setpriv --pdeathsig KILL "$@" -f </dev/null >>"$dir/log/daemons" 2>&1 & }
trap 'kill -9 $(jobs -p) 2>/dev/null || true' EXIT

monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon]" "$dir/monmap" >/dev/null
ceph-mon -i a --mkfs --monmap "$dir/monmap"
daemon ceph-mon -i a
osd=$(cat /proc/sys/kernel/random/uuid)
ceph osd new "$osd" >/dev/null
ceph-osd -i 0 --mkfs --osd-uuid "$osd" 2>>"$dir/log/daemons"
daemon ceph-osd -i 0
daemon radosgw -n client.rgw
radosgw-admin user create --uid=test --display-name=test \
  --access-key="$S3_ACCESS_KEY" --secret-key="$S3_SECRET_KEY" >/dev/null 2>>"$dir/log/daemons"
until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep .1; done
echo ready
while read -r _; do :; done
