#!/usr/bin/env python3
"""Figures that need a whole daemon: a million queued messages, ten thousand idle connections, a smarthost 50 ms away,
what limits cost.

    benches/figures.py --waystation target/release/waystation [million] [idle] [distance] [limits]

Each is measured against itself in the same run (empty queue against full queue, round trips against messages), so
that the ratio holds on a busy machine. Needs Debian's `postfix` for smtp-source. Traffic stays on 127.0.0.1.
"""
import argparse, asyncio, json, os, pathlib, re, shutil, signal, socket, statistics, subprocess, sys, tempfile, time


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def pss_mib(pid):
    rollup = open(f"/proc/{pid}/smaps_rollup").read()
    return int(re.search(r"^Pss:\s+(\d+)", rollup, re.M)[1]) / 1024


class Waystation:
    def __init__(self, binary, where, port, smarthost, extra=""):
        self.binary, self.where, self.port = binary, where, port
        self.config = where / "waystation.toml"
        self.config.write_text(f"""hostname = "bench.example"
state_dir = "state"
[[listener]]
address = "127.0.0.1:{port}"
[smarthost.up]
host = "127.0.0.1"
port = {smarthost}
tls = "none"
{extra}
[log]
level = "warn"
""")

    def start(self):
        """Seconds until it listens."""
        began = time.time()
        self.p = subprocess.Popen([self.binary, "run", "--config", self.config], stderr=open(self.where / "log", "ab"))
        while True:
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", self.port)) == 0:
                    return time.time() - began
            if self.p.poll() is not None:
                sys.exit((self.where / "log").read_text())
            time.sleep(0.01)

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        self.p.wait(30)

    def status(self):
        out = subprocess.run([self.binary, "status", "--json", "--config", self.config], capture_output=True, check=True)
        return json.loads(out.stdout)


def submit(port, count, sessions=50):
    """Messages a second."""
    began = time.time()
    subprocess.run(["smtp-source", "-d", "-s", str(sessions), "-m", str(count), "-l", "4096", "-f", "app@bench.example",
                    "-t", "guest@dest.example", f"127.0.0.1:{port}"], check=True)
    return count / (time.time() - began)


def million(binary, where, count):
    print(f"{count:,} messages queued, smarthost down")
    w = Waystation(binary, where, free_port(), free_port())
    w.start()
    submit(w.port, 5000)
    rates = [submit(w.port, 20000) for _ in range(3)]
    print(f"  accepts, empty queue      {sorted(rates)[1]:8.0f}/s  (median of 3 × 20,000)")
    left, peak = count - 65000, 0
    while left > 0:
        submit(w.port, min(left, 50000))
        left -= 50000
        peak = max(peak, pss_mib(w.p.pid))
    full = [submit(w.port, 20000) for _ in range(3)]
    print(f"  accepts, full queue       {sorted(full)[1]:8.0f}/s  = {sorted(full)[1] / sorted(rates)[1]:.2f} of empty")
    print(f"  memory while it filled    {max(peak, pss_mib(w.p.pid)):8.0f} MiB PSS")
    print(f"  status                    {w.status()[0]['queued'] + w.status()[0]['deferred']:,} waiting")
    w.stop()
    took = w.start()
    time.sleep(3)
    print(f"  start to listening        {took:8.2f} s")
    print(f"  memory after start        {pss_mib(w.p.pid):8.0f} MiB PSS")
    w.p.kill()
    w.p.wait()
    print(f"  start after kill -9       {w.start():8.2f} s")
    w.stop()


def idle(binary, where, count):
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 1000, count + 1000))
    w = Waystation(binary, where, free_port(), free_port(), f"[intake]\nmax_connections = {count + 10}\n")
    w.start()
    before = pss_mib(w.p.pid)
    held = []
    for n in range(count):
        s = socket.socket()
        s.bind((f"127.0.{n // 20000}.1", 0))
        s.connect(("127.0.0.1", w.port))
        held.append(s)
    for s in held:
        s.recv(512)
        s.sendall(b"EHLO idle.example\r\n")
        s.recv(512)
    print(f"{count:,} idle connections\n  memory                    {pss_mib(w.p.pid):8.0f} MiB PSS (before: {before:.0f})")
    w.stop()


class Far:
    """A smarthost behind a line that delays each direction."""

    def __init__(self, chunking, delay):
        self.chunking, self.delay, self.taken = chunking, delay, 0

    async def serve(self, reader, writer):
        loop = asyncio.get_running_loop()
        def say(text):
            loop.call_later(2 * self.delay, lambda: writer.is_closing() or writer.write(text))
        say(b"220 far.example\r\n")
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb == b"EHLO":
                    say(b"250-far.example\r\n250-PIPELINING\r\n" + (b"250-CHUNKING\r\n" if self.chunking else b"") + b"250 8BITMIME\r\n")
                elif verb == b"DATA":
                    say(b"354 go\r\n")
                    while await reader.readline() != b".\r\n":
                        pass
                    self.taken += 1
                    say(b"250 2.0.0 taken\r\n")
                elif verb == b"BDAT":
                    await reader.readexactly(int(line.split()[1]))
                    if b"LAST" in line.upper():
                        self.taken += 1
                    say(b"250 2.0.0 taken\r\n")
                elif verb == b"QUIT":
                    say(b"221 bye\r\n")
                else:
                    say(b"250 2.0.0 ok\r\n")
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        writer.close()


async def distance(binary, root, messages):
    """Replies come 50 ms after what they answer; one connection."""
    print("one connection to a smarthost 50 ms away")
    for chunking in (False, True):
        far, where = Far(chunking, 0.025), root / f"far{chunking}"
        where.mkdir()
        server = await asyncio.start_server(far.serve, "127.0.0.1", 0, limit=1 << 20)
        port = server.sockets[0].getsockname()[1]
        w = Waystation(binary, where, free_port(), port, "connections = 1\nmessages_per_connection = 100000\n")
        await asyncio.to_thread(w.start)
        await asyncio.to_thread(submit, w.port, messages)
        while far.taken == 0:
            await asyncio.sleep(0.01)
        first, began = far.taken, time.time()
        while far.taken < messages:
            await asyncio.sleep(0.01)
        per_trip = (messages - first) / ((time.time() - began) / 0.05)
        print(f"  {'CHUNKING' if chunking else 'PIPELINING alone':20}      {per_trip:8.2f} messages per round trip")
        await asyncio.to_thread(w.stop)
        server.close()


class Sink:
    """smtp-sink, which counts."""

    def __init__(self):
        self.port, self.counted = free_port(), tempfile.TemporaryFile()
        self.p = subprocess.Popen(["smtp-sink", "-u", "nobody", "-c", f"127.0.0.1:{self.port}", "1000"],
                                  stdout=self.counted, stderr=subprocess.STDOUT)

    def count(self):
        size = os.fstat(self.counted.fileno()).st_size
        found = re.findall(rb"mesg=(\d+)", os.pread(self.counted.fileno(), 400, max(0, size - 400)))
        return int(found[-1]) if found else 0


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def limits(binary, root, messages, rounds):
    """The same relay with three limits and without any, in turns."""
    print(f"limits: {rounds} rounds of {messages:,} messages through each, in turns")
    sink, relays = Sink(), {}
    limited = "per_minute = 1000000\nper_hour = 10000000\nper_day = 100000000\n"
    for name, extra in ("without", ""), ("with", limited):
        (root / name).mkdir()
        relays[name] = Waystation(binary, root / name, free_port(), sink.port, "connections = 50\n" + extra)
        relays[name].start()
        submit(relays[name].port, 1000)
    while sink.count() < 2000:
        time.sleep(0.02)
    ratios = []
    for number in range(rounds):
        row = {}
        for name in sorted(relays, reverse=number % 2 == 1):
            w, before = relays[name], sink.count()
            cpu, began = cpu_seconds(w.p.pid), time.time()
            submit(w.port, messages)
            while sink.count() - before < messages:
                time.sleep(0.005)
            row[name] = messages / (time.time() - began), (cpu_seconds(w.p.pid) - cpu) / messages * 1e6
        ratios.append((row["with"][0] / row["without"][0], row["with"][1] / row["without"][1]))
        print("  " + ", ".join(f"{name} {rate:6.0f}/s {cpu:4.0f} µs" for name, (rate, cpu) in row.items()))
    rate, cpu = (statistics.median(row[at] for row in ratios) for at in (0, 1))
    print(f"  with / without            {rate:8.3f} of the rate, {cpu:.3f} of the CPU  (medians)")
    for w in relays.values():
        w.stop()
    sink.p.kill()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--waystation", type=pathlib.Path, required=True)
    p.add_argument("--count", type=int, default=1_000_000)
    p.add_argument("what", nargs="*", default=["million", "idle", "distance", "limits"])
    a = p.parse_args()
    root = pathlib.Path(tempfile.mkdtemp(prefix="waystation-figures-", dir=os.environ.get("TMPDIR")))
    try:
        for what in a.what:
            where = root / what
            where.mkdir()
            binary = a.waystation.resolve()
            if what == "million":
                million(binary, where, a.count)
            elif what == "idle":
                idle(binary, where, 10_000)
            elif what == "distance":
                asyncio.run(distance(binary, where, 200))
            elif what == "limits":
                limits(binary, where, 6000, 12)
            else:
                sys.exit(f"figures.py: {what}: one of million, idle, distance, limits")
    finally:
        shutil.rmtree(root, ignore_errors=True)


main()
