# SPDX-License-Identifier: Apache-2.0
"""What the rules of the network mean, written a second time from the contract and the IANA registries; it shares nothing
with src/net. Rules are structures here, and their text is only made of them, so that the other side's parser is tested too."""
import dataclasses
import ipaddress

V4, V6 = ipaddress.IPv4Address, ipaddress.IPv6Address

# The special-purpose registries: prefix, globally reachable. The longest prefix that covers an address counts.
REGISTRY = {ipaddress.ip_network(prefix): reachable for prefix, reachable in {
    "0.0.0.0/8": False, "10.0.0.0/8": False, "100.64.0.0/10": False, "127.0.0.0/8": False, "169.254.0.0/16": False,
    "172.16.0.0/12": False, "192.0.0.0/24": False, "192.0.0.9/32": True, "192.0.0.10/32": True, "192.0.0.170/32": False,
    "192.0.0.171/32": False, "192.0.2.0/24": False, "192.31.196.0/24": True, "192.52.193.0/24": True,
    "192.88.99.0/24": False, "192.168.0.0/16": False, "192.175.48.0/24": True, "198.18.0.0/15": False,
    "198.51.100.0/24": False, "203.0.113.0/24": False, "240.0.0.0/4": False, "255.255.255.255/32": False,
    "::1/128": False, "::/128": False, "64:ff9b:1::/48": False, "100::/64": False, "100:0:0:1::/64": False,
    "2001::/23": False, "2001::/32": False, "2001:1::1/128": True, "2001:1::2/128": True, "2001:1::3/128": True,
    "2001:2::/48": False, "2001:3::/32": True, "2001:4:112::/48": True, "2001:10::/28": False, "2001:20::/28": True,
    "2001:30::/28": True, "2001:db8::/32": False, "2620:4f:8000::/48": True, "3fff::/20": False, "5f00::/16": False,
    "fc00::/7": False, "fe80::/10": False}.items()}
META = {ipaddress.ip_address(a) for a in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254", "168.63.129.16",
                                          "192.0.0.192", "100.100.100.200")}
GROUPS = {name: [ipaddress.ip_network(p) for p in prefixes] for name, prefixes in {
    "loopback": ["127.0.0.0/8", "::1/128"],
    "private": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"],
    "link-local": ["169.254.0.0/16", "fe80::/10"],
    "multicast": ["224.0.0.0/4", "ff00::/8"]}.items()}
UNICAST_V6 = ipaddress.ip_network("2000::/3")
NAT64, SIX_TO_FOUR = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("2002::/16")


def plain(address):
    """An IPv4 address in its mapped form is that address, already on the wire."""
    return getattr(address, "ipv4_mapped", None) or address


def judged(address):
    address = plain(address)
    if address in NAT64:
        return V4(int(address) & 0xffffffff)
    if address in SIX_TO_FOUR:
        return V4(int(address) >> 80 & 0xffffffff)
    return address


def group(address, hosts):
    wire, inside = plain(address), judged(address)
    for name in ("loopback", "host", "meta", "private", "link-local", "multicast"):
        if name == "host":
            found = wire in hosts or inside in hosts
        elif name == "meta":
            found = inside in META
        else:
            found = any(inside in n for n in GROUPS[name])
        if found:
            return name
    covering = [n for n in REGISTRY if inside.version == n.version and inside in n]
    if covering:
        return "public" if REGISTRY[max(covering, key=lambda n: n.prefixlen)] else "none"
    return "public" if inside.version == 4 or inside in UNICAST_V6 else "none"


@dataclasses.dataclass
class Rule:
    allow: bool
    directions: frozenset            # of "egress", "ingress"
    kind: str                        # any, dns, group, net, domain, suffix
    value: object = None             # a group's name, a network, a name in lower case
    protocol: str = "any"
    ports: tuple = None              # (low, high)

    def about_names(self):
        return self.kind in ("domain", "suffix")


@dataclasses.dataclass
class Flow:
    direction: str
    protocol: str
    address: object
    port: int
    state: str                       # unseen, none, seen
    name: str = None


@dataclasses.dataclass
class World:
    """What a gateway knows besides the rules."""
    hosts: set
    records: list                    # of (address, name): what DNS gave to the sandbox


@dataclasses.dataclass
class Policy:
    rules: list
    defaults: dict                   # direction: is it allowed?
    strict: bool = False
    blocked: list = dataclasses.field(default_factory=list)    # names
    suffixes: list = dataclasses.field(default_factory=list)
    tenants: bool = False

    def all_rules(self):
        out = frozenset(["egress"])
        return ([Rule(False, out, "domain", n) for n in self.blocked] +
                [Rule(False, out, "suffix", n) for n in self.suffixes] + self.rules)


def below(name, rule):
    name = name.lower().removesuffix(".").split(".")
    want = rule.value.split(".")
    return name == want if rule.kind == "domain" else name[-len(want):] == want


def service_fits(rule, protocol, port):
    with_ports = protocol in ("tcp", "udp")
    if rule.kind == "dns":
        return with_ports and port == 53
    if rule.protocol not in ("any", protocol):
        return False
    return rule.ports is None or (with_ports and rule.ports[0] <= port <= rule.ports[1])


def address_fits(rule, address, world):
    if rule.kind == "any":
        return True
    if rule.kind == "dns":
        return group(address, world.hosts) == "host"
    if rule.kind == "group":
        return group(address, world.hosts) == rule.value
    # What is denied is denied however it is written; what is allowed is what it is judged as.
    seen = {judged(address)} | (set() if rule.allow else {plain(address)})
    return any(a.version == rule.value.version and a in rule.value for a in seen)


def fits(rule, policy, flow, world, name):
    """Does a rule match a flow whose stream says this name, or None?"""
    if flow.direction not in rule.directions or not service_fits(rule, flow.protocol, flow.port):
        return False
    if not rule.about_names():
        return address_fits(rule, flow.address, world)
    mine = {plain(flow.address), judged(flow.address)}
    linked = any(plain(a) in mine and below(n, rule) for a, n in world.records)
    if name is not None:
        return below(name, rule) and (linked or not rule.allow)
    return linked and not (rule.allow and policy.strict)


def never(flow):
    inside = judged(flow.address)
    if int(inside) == 0 or (inside.version == 4 and int(inside) >> 28 == 15):
        return True
    past = {"tcp": (853,), "udp": (137, 853, 5353, 5355)}
    return flow.direction == "egress" and flow.port in past.get(flow.protocol, ())


def settled(policy, flow, world, name):
    """The verdict and the rule's number, once the name is known."""
    for number, rule in enumerate(policy.all_rules()):
        if fits(rule, policy, flow, world, name):
            return ("allow" if rule.allow else "deny", number)
    return ("allow" if policy.defaults[flow.direction] else "deny", -1)


def decide(policy, flow, world):
    """All verdicts that can come of it: one, or both of them where it depends on the name."""
    if never(flow):
        return {("deny", -2)}
    if policy.tenants and flow.direction == "egress":
        where = group(flow.address, world.hosts)
        if where != "public" and not (where == "host" and flow.port == 53):
            return {("deny", -2)}
    if flow.state == "seen":
        return {settled(policy, flow, world, flow.name)}
    if flow.state == "none" or flow.protocol != "tcp" or flow.direction == "ingress":
        return {settled(policy, flow, world, None)}
    said = [None, "nobody.invalid", "nobody-else"]
    for rule in policy.all_rules():
        if rule.about_names():
            said += [rule.value, "x." + rule.value, "a.b." + rule.value]
    return {settled(policy, flow, world, name) for name in said}


def question(policy, protocol, name):
    for number, rule in enumerate(policy.all_rules()):
        if "egress" not in rule.directions:
            continue
        if rule.about_names():
            found = below(name, rule)
        else:
            at_gateway = rule.kind in ("any", "dns") or (rule.kind, rule.value) == ("group", "host")
            found = at_gateway and service_fits(rule, protocol, 53)
        if found:
            return ("allow" if rule.allow else "deny", number)
    return ("allow" if policy.defaults["egress"] else "deny", -1)


def answer_allowed(policy, address, world):
    """May rebind protection let an address pass?"""
    if policy.tenants or never(Flow("ingress", "tcp", address, 1, "none")):
        return False
    for rule in policy.all_rules():
        if "egress" not in rule.directions or rule.about_names() or rule.kind == "dns" or rule.protocol != "any" or rule.ports:
            continue
        if rule.allow and rule.kind != "net":
            continue
        if address_fits(rule, address, world):
            return rule.allow
    return False


# --- cases

ADDRESSES = ["0.0.0.0", "0.1.2.3", "1.2.3.4", "8.8.8.8", "10.0.0.1", "10.0.0.5", "10.9.8.7", "100.63.0.1", "100.64.0.1",
             "100.100.100.200", "127.0.0.1", "168.63.129.16", "169.254.1.1", "169.254.169.254", "172.16.5.1", "172.16.5.2",
             "172.32.0.1", "192.0.0.1", "192.0.0.9", "192.0.0.192", "192.0.2.7", "192.168.7.7", "192.168.7.8", "192.88.99.1",
             "198.18.0.1", "198.20.0.1", "203.0.113.9", "224.0.0.251", "239.1.1.1", "240.0.0.1", "255.255.255.255", "::", "::1",
             "2001:db8::1", "2606:4700::1", "2606:4700::99", "2001::1", "2001:1::1", "2001:20::1", "2001:4:112::1", "3fff::1",
             "3ffe::1", "4000::1", "5f00::1", "64:ff9b:1::1", "100::1", "fc00::1", "fd00:ec2::254", "fd42:6d73:62:5::1", "fe80::1",
             "fec0::1", "ff02::1", "::8.8.8.8"]
HOSTS = ["172.16.5.1", "fd42:6d73:62:5::1", "192.168.7.7", "2606:4700::99", "127.0.0.1"]
NAMES = ["example.com", "www.example.com", "a.www.example.com", "example.org", "ads.example.org", "intranet", "x.intranet",
         "badexample.com"]
PORTS = [1, 22, 53, 80, 137, 443, 853, 5353, 8080, 65535]
PROTOCOLS = ["tcp", "udp", "icmpv4", "icmpv6"]


def some_address(dice):
    """Any of them, an IPv4 one often inside an IPv6 one."""
    address = ipaddress.ip_address(dice.choice(ADDRESSES))
    if address.version == 6 or dice.random() < 0.6:
        return address
    return dice.choice([V6(int(NAT64.network_address) | int(address)), V6(0xffff << 32 | int(address)),
                        V6(0x2002 << 112 | int(address) << 80 | dice.getrandbits(80))])


def some_net(dice, allow):
    while True:
        address = plain(some_address(dice))
        longest = address.max_prefixlen
        bits = dice.choice([longest, longest, 0, 8, 12, 16, 24, 48, 64, 96, dice.randint(0, longest)])
        net = ipaddress.ip_network((address, min(bits, longest)), strict=False)
        # A permission of what is judged by something else is refused.
        if not (allow and net.version == 6 and (net.subnet_of(NAT64) or net.subnet_of(SIX_TO_FOUR))):
            return net


def some_rule(dice):
    allow = dice.random() < 0.5
    kind = dice.choice(["any", "dns", "group", "group", "net", "net", "net", "domain", "domain", "suffix", "suffix"])
    rule = Rule(allow, frozenset(dice.choice([["egress"], ["egress"], ["ingress"], ["egress", "ingress"]])), kind)
    if kind == "dns":
        rule.directions = frozenset(["egress"])
        return rule
    if kind == "group":
        rule.value = dice.choice(["host", "meta", "loopback", "private", "link-local", "multicast", "public"])
    elif kind == "net":
        rule.value = some_net(dice, allow)
    elif kind == "domain":
        rule.value = dice.choice(NAMES)
    elif kind == "suffix":
        rule.value = dice.choice([n for n in NAMES if "." in n])
    if dice.random() < 0.5:
        rule.protocol = dice.choice(["any", "tcp", "tcp", "udp"] + (["icmpv4", "icmpv6"] if "ingress" not in rule.directions else []))
        if not rule.protocol.startswith("icmp") and dice.random() < 0.7:
            low, high = dice.choice(PORTS), dice.choice(PORTS)
            rule.ports = (low, low) if dice.random() < 0.5 else (min(low, high), max(low, high))
    return rule


def spelled(name, dice):
    return "".join(c.upper() if dice.random() < 0.2 else c for c in name) + dice.choice(["", "", "."])


def typed(rule, dice):
    """One of its spellings."""
    direction = "any" if len(rule.directions) == 2 else next(iter(rule.directions))
    text = ("allow" if rule.allow else "deny") + ("" if direction == "egress" and dice.random() < 0.7 else ":" + direction) + "@"
    bare = rule.protocol == "any" and rule.ports is None and dice.random() < 0.8
    if rule.kind in ("any", "dns"):
        text += rule.kind
    elif rule.kind == "group":
        text += rule.value
    elif rule.kind == "net":
        net = rule.value
        whole = str(net.network_address) if net.prefixlen == net.max_prefixlen and dice.random() < 0.5 else str(net)
        if net.version == 4:
            text += whole
        elif bare and dice.random() < 0.5:
            text += whole.upper() if dice.random() < 0.3 else whole
        elif dice.random() < 0.5:
            text += f"[{whole}]"
        else:
            text += f"[{net.network_address.exploded}]/{net.prefixlen}"
    elif rule.kind == "domain":
        text += ("" if "." in rule.value and dice.random() < 0.6 else "domain=") + spelled(rule.value, dice)
    else:
        text += dice.choice(["suffix=", "*."]) + spelled(rule.value, dice)
    if rule.kind == "dns" or bare:
        return text
    text += ":" + rule.protocol
    if rule.ports:
        low, high = rule.ports
        text += f":{low}" if low == high and dice.random() < 0.7 else f":{low}-{high}"
    elif not rule.protocol.startswith("icmp") and dice.random() < 0.3:
        text += ":any"
    return text


def some_flow(dice, world, policy):
    direction = "ingress" if dice.random() < 0.2 else "egress"
    protocol = dice.choice(["tcp", "tcp", "tcp", "udp"] if direction == "ingress" else ["tcp"] * 4 + ["udp", "udp", "icmpv4", "icmpv6"])
    nets = [r.value for r in policy.rules if r.kind == "net"]
    if world.records and dice.random() < 0.4:
        address = dice.choice(world.records)[0]
    elif nets and dice.random() < 0.3:
        # The ends of a prefix, and what is just outside.
        net = dice.choice(nets)
        edge = dice.choice([int(net.network_address), int(net.broadcast_address), int(net.network_address) - 1,
                            int(net.broadcast_address) + 1])
        address = type(net.network_address)(min(max(edge, 0), 2 ** net.max_prefixlen - 1))
    else:
        address = some_address(dice)
    edges = [p for r in policy.rules if r.ports for p in (r.ports[0] - 1, r.ports[0], r.ports[1], r.ports[1] + 1) if 0 < p < 65536]
    port = 0 if protocol.startswith("icmp") else dice.choice(PORTS + edges)
    state = dice.choice(["unseen", "none", "seen"] if protocol == "tcp" and direction == "egress" else ["unseen", "none"])
    name = spelled(dice.choice(NAMES + ["nobody.invalid", "x.example.com"]), dice) if state == "seen" else None
    return Flow(direction, protocol, address, port, state, name)


def some_case(dice):
    """Rules, the world, and what is asked of them."""
    rules = [some_rule(dice) for _ in range(dice.randint(0, 7))]
    policy = Policy(rules, {"egress": dice.random() < 0.3, "ingress": dice.random() < 0.6}, dice.random() < 0.25,
                    dice.sample(NAMES, dice.choice([0, 0, 0, 1])), dice.sample(NAMES, dice.choice([0, 0, 0, 1])), dice.random() < 0.1)
    world = World({ipaddress.ip_address(h) for h in HOSTS},
                  [(some_address(dice), dice.choice(NAMES)) for _ in range(dice.randint(0, 4))])
    flows = [some_flow(dice, world, policy) for _ in range(12)]
    questions = [(dice.choice(["udp", "tcp"]), spelled(dice.choice(NAMES + ["nobody.invalid"]), dice)) for _ in range(4)]
    return policy, world, flows, questions, [some_address(dice) for _ in range(3)]
