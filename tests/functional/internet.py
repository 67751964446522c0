# SPDX-License-Identifier: Apache-2.0
"""An internet of three network namespaces with no way out: the host on which msb runs, the public part with a resolver, a
web server and others, and the private part, whose servers own what a sandbox must not reach."""
import subprocess

from netlab import Space, listening

WEB, WEB6 = "1.2.3.10", "2606:4700::10"
OTHER, OTHER6 = "1.2.3.11", "2606:4700::11"  # the same servers under another name
RESOLVER, RESOLVER6 = "1.2.3.53", "2606:4700::53"
HOST = ["1.2.3.1", "2606:4700::1", "192.168.50.1", "fd00:50::1"]
PRIVATE = ["10.0.0.1", "10.200.3.4", "192.168.50.2", "192.168.7.10", "172.20.0.9", "100.64.0.7", "198.18.0.5",
           "169.254.169.254", "169.254.170.2", "169.254.9.9", "168.63.129.16", "192.0.0.192", "100.100.100.200",
           "fd00:50::2", "fd00:ec2::254", "64:ff9b::a00:1", "2002:a00:1::1"]
ECHO, SERVE = 7000, 22  # ports of peer.py, udp and tcp, everywhere

NGINX = """
daemon off; worker_processes 1; user root; pid {folder}/pid; error_log {folder}/errors;
events {{ worker_connections 512; }}
http {{
    log_format line '$host $request_method $uri'; access_log {folder}/requests line;
    client_max_body_size 0; client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/x; fastcgi_temp_path {folder}/x; uwsgi_temp_path {folder}/x; scgi_temp_path {folder}/x;
    server {{
        listen 80; listen [::]:80; listen 443 ssl; listen [::]:443 ssl;
        ssl_certificate {folder}/certificate; ssl_certificate_key {folder}/key;
        root {folder}/www; dav_methods PUT;
    }}
}}
"""
RECORDS = ["--address=/example.com/" + WEB, "--address=/example.com/" + WEB6, "--address=/example.org/" + OTHER,
           "--address=/example.org/" + OTHER6, "--mx-host=example.com,mail.example.com,10",
           *(f"--txt-record={name}.example.com," + ",".join(["x" * 200] * n) for name, n in (("some", 4), ("big", 10))),
           "--cname=www.example.net,target.example.net",
           "--host-record=target.example.net," + WEB, "--host-record=inside.example.net,10.0.0.1",
           "--host-record=inside6.example.net,fd00:ec2::254", "--host-record=mixed.example.net," + WEB,
           "--host-record=mixed.example.net,192.168.7.10"]


class Internet:
    """folder: www of the web server, its list of requests. close() ends everything."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        self.host, self.public, self.private = self.spaces = [Space("-m"), Space(), Space()]
        self.link("out0", self.public, HOST[:2], [WEB, WEB6, OTHER, OTHER6, RESOLVER, RESOLVER6])
        self.link("lan0", self.private, HOST[2:], PRIVATE)
        for via, link, targets in ((WEB, "out0", ["default"]), (WEB6, "out0", ["default"]),
                                   ("192.168.50.2", "lan0", [a for a in PRIVATE if "." in a]),
                                   ("fd00:50::2", "lan0", [a for a in PRIVATE if ":" in a])):
            for target in targets:
                if target != via:
                    self.host("ip", "-6" if ":" in via else "-4", "route", "add", target, "via", via, "dev", link)
        # What systemd sets, and what the host's resolver is.
        self.host("sysctl", "-qw", "net.ipv4.ping_group_range=0 2147483647")
        (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\nnameserver {RESOLVER6}\n")
        self.host("mount", "--bind", folder / "resolv.conf", "/etc/resolv.conf")
        for space in self.spaces:
            self.start(space.serve("serve", "::", SERVE))
            self.start(space.serve("udp", "::", ECHO))
        self.resolver(self.public, *RECORDS)
        self.resolver(self.private, "--address=/#/" + OTHER)
        self.web_server()
        self.start(self.public.popen("iperf3", "-s", stdout=subprocess.DEVNULL))
        assert listening(self.public, 5201)

    def link(self, name, space, ours, theirs):
        """A cable between the host and a space: addresses of a /24 or a /64, or of its own where it is on no such net."""
        nets = tuple(a.rsplit("." if "." in a else ":", 1)[0] for a in ours)
        self.host("ip", "link", "add", name, "type", "veth", "peer", "name", "in0", "netns", space.pid)
        for where, link, addresses in ((self.host, name, ours), (space, "in0", theirs)):
            for a in addresses:
                bits = (24, 64) if a.startswith(nets) else (32, 128)
                where("ip", "addr", "add", f"{a}/{bits[':' in a]}", "dev", link, *(["nodad"] if ":" in a else []))
            where("ip", "link", "set", link, "up")

    def start(self, process):
        self.started.append(process)
        return process

    def resolver(self, space, *records):
        self.start(space.popen("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
                               "--pid-file=", "--local-ttl=60", *records, stderr=subprocess.DEVNULL))
        assert listening(space, 53, "u")

    def web_server(self):
        folder = self.folder
        (folder / "www/up").mkdir(parents=True)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder))
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", folder / "key", "-out", folder / "certificate", "-subj", "/CN=example.com", "-days", "2"],
                       check=True, stderr=subprocess.DEVNULL)
        self.start(self.public.popen("nginx", "-c", folder / "nginx.conf", stderr=subprocess.DEVNULL))
        assert listening(self.public, 443)

    def requests(self):
        """What the web server was asked: "host method path"."""
        return (self.folder / "requests").read_text().splitlines()

    def close(self):
        for p in self.started:
            p.terminate()
        for p in self.started:
            p.wait()
        for s in self.spaces:
            s.close()


COUNTED = ("TcpPassiveOpens", "UdpInDatagrams", "Udp6InDatagrams", "IcmpInEchos", "Icmp6InEchos")


def arrived(space):
    """Connections that its servers took, datagrams and echo requests that came, since it is there: its kernel counts."""
    found = {}
    lines = space("cat", "/proc/net/snmp").splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        protocol = names.split(":")[0]
        found.update(zip((protocol + n for n in names.split()[1:]), map(int, values.split()[1:])))
    for line in space("cat", "/proc/net/snmp6").splitlines():
        name, value = line.split()
        found[name] = int(value)
    return {name: found[name] for name in COUNTED}
