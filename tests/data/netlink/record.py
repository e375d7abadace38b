#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
record HOST: makes that host in the network namespace it is run in (which is
lost), and prints its links, addresses and routes as the kernel tells them by
netlink, in hex. It wants root, eth0 and eth1 (hardware, with nothing on them)
and a kernel with the kinds of links named below; a virtual machine will do.
"""

import fcntl
import os
import socket
import struct
import subprocess
import sys
import time

HOSTS = {
    "bond_vlan": """
        link add bond0 type bond mode active-backup miimon 100
        link set eth0 master bond0
        link set eth1 master bond0
        link set bond0 up
        addr add 192.168.50.5/24 dev bond0
        link add link bond0 name bond0.100 type vlan id 100
        link set bond0.100 up
        addr add 10.100.0.5/24 dev bond0.100
        addr add 10.100.0.6/24 dev bond0.100
        addr add 2001:db8:100::5/64 dev bond0.100 nodad
        route add default via 10.100.0.1 proto dhcp metric 400
        link add lb0 type dummy
        link set lb0 up
        addr add 10.100.0.200/32 dev lb0
        """,
    "vpn": """
        link set eth0 up
        addr add 10.0.0.5/24 dev eth0 valid_lft 3600 preferred_lft 1800
        route add default via 10.0.0.1 proto dhcp metric 100
        TUN tun0
        link set tun0 up
        addr add 10.8.0.2 peer 10.8.0.1/32 dev tun0
        route add default dev tun0 metric 50
        route add default dev tun0 table 51820
        """,
    "macvlan": """
        netns add container
        link add link eth0 name mv0 type macvlan mode bridge
        link set eth0 up
        link set mv0 netns container name eth0
        ENTER container
        link set lo up
        link set eth0 up
        addr add 10.0.3.77/24 dev eth0
        route add default via 10.0.3.1 src 10.0.3.77
        """,
    "ipvlan": """
        netns add container
        link add link eth0 name iv0 type ipvlan mode l2
        link set eth0 up
        link set iv0 netns container name eth0
        ENTER container
        link set lo up
        link set eth0 up
        addr add 10.0.3.78/24 dev eth0
        """,
    "k3s": """
        link set eth0 up
        addr add 192.168.1.20/24 dev eth0
        route add default via 192.168.1.1 metric 100
        link add flannel.1 type vxlan id 1 dev eth0 dstport 8472 local 192.168.1.20 nolearning
        link set flannel.1 up
        addr add 10.42.0.0/32 dev flannel.1
        link add cni0 type bridge
        link set cni0 up
        addr add 10.42.0.1/24 dev cni0
        link add vethb0b0 type veth peer name pod0
        link set vethb0b0 master cni0 up
        link set pod0 up
        link add kube-ipvs0 type dummy
        addr add 10.43.0.1/32 dev kube-ipvs0
        addr add 10.43.0.10/32 dev kube-ipvs0
        """,
    "proxmox": """
        link add vmbr0 type bridge
        link set eth0 master vmbr0 up
        link set vmbr0 up
        addr add 10.10.0.2/24 dev vmbr0
        route add default via 10.10.0.1
        TAP tap100i0
        link set tap100i0 master vmbr0 up
        link add link vmbr0 name vmbr0.20 type vlan id 20
        link set vmbr0.20 up
        addr add 10.20.0.2/24 dev vmbr0.20
        """,
    "vrf_team": """
        link add mgmt type vrf table 10
        link set mgmt up
        link set eth1 master mgmt up
        addr add 10.9.0.4/24 dev eth1
        route add default via 10.9.0.1 table 10
        link add team0 type team
        link set eth0 master team0
        link set eth0 up
        link set team0 up
        addr add 10.0.0.4/24 dev team0
        route add default metric 7 nexthop via 10.0.0.1 dev team0 nexthop via 10.0.0.2 dev team0
        """,
}

TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454ca, 1, 2, 0x1000
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE = 18, 22, 26
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_DONE = 1, 0x300, 3
CLONE_NEWNET = 0x40000000
held = []                   # an attached process is the carrier of a tun device


def attach(name, kind):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), kind | IFF_NO_PI))
    held.append(fd)


def enter(namespace):
    import ctypes
    with open(f"/run/netns/{namespace}", "rb") as file:
        assert ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) == 0


def dump(request):
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    sock.send(struct.pack("=IHHIIB3x", 20, request, NLM_F_REQUEST | NLM_F_DUMP, 1, 0, 0))
    while True:
        data = sock.recv(1 << 16)
        while data:
            length, kind = struct.unpack_from("=IH", data)
            if kind == NLMSG_DONE:
                return
            assert kind == request - 2, kind
            yield data[:length]
            data = data[(length + 3) & ~3:]


def main():
    name = sys.argv[1]
    lines = [line.strip() for line in HOSTS[name].strip().splitlines()]
    print(f"# {name}: recorded by record.py from Linux {os.uname().release}:")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for line in lines:
        print(f"#   {line}")
        words = line.split()
        if words[0] in ("TUN", "TAP"):
            attach(words[1], IFF_TUN if words[0] == "TUN" else IFF_TAP)
        elif words[0] == "ENTER":
            enter(words[1])
        else:
            subprocess.run(["ip", *words], check=True)
    time.sleep(3)           # carriers and duplicate address detection
    for request in (RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE):
        for message in dump(request):
            print()
            text = message.hex()
            for at in range(0, len(text), 96):
                print(text[at:at + 96])


if __name__ == "__main__":
    main()
