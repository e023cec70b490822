#!/usr/bin/env python3
"""How fast forwarded mail becomes posted events: mails of 10 KiB in, each its own conversation, a receiver on loopback.

    benches/forwarded.py --waystation target/release/waystation [--mails 20000] [--relay]

Prints mails a second from the first taken to the last posted, and what a mail costs the daemon in CPU. First the mails
are taken and read as they come; then a backlog that waited for the receiver is posted. --relay sends as many messages
of 4 KiB through a smarthost beside it (Debian's `postfix` for smtp-source and smtp-sink). Every event is counted once
by its id, and its numbers are checked for gaps. Traffic stays on 127.0.0.1: as root, the daemon asks a name server of
the measurement's own; else it asks this machine's, and when that doesn't answer, some seconds of the first figure are
spent waiting for it.
"""
import argparse, base64, json, multiprocessing, os, pathlib, re, selectors, shutil, signal, socket, struct, subprocess, sys, tempfile, time

WORDS = ("We arrive on Friday by the late train and would like to know where the key is, whether there is a cot for the "
         "little one, and how we find the house from the station when it is dark. ").split(" ")


def words(number, count):
    return " ".join(WORDS[(number * 7 + at) % len(WORDS)] for at in range(count))


def mail(number, size=10240):
    """A guest's answer as Gmail writes it, forwarded by Gmail."""
    own = f"Hello Casa Sol,\r\n\r\n{words(number, 60)}\r\n\r\nBest,\r\nAna {number}"
    attribution = f"On Tue, May 12, 2026 at 9:41 AM Casa Sol <hola@casasol.example> wrote:"
    quoted = [words(number + at, 11) for at in range(28)]
    plain = own + "\r\n\r\n" + attribution + "\r\n\r\n" + "\r\n".join("> " + line for line in quoted)
    html = ('<div dir="ltr">' + own.replace("\r\n", "<br>\r\n") + '</div><br><div class="gmail_quote"><div dir="ltr" class="gmail_attr">'
            + attribution.replace("<", "&lt;").replace(">", "&gt;") + '<br></div><blockquote class="gmail_quote" style="margin:0px 0px 0px 0.8ex;'
            'border-left:1px solid rgb(204,204,204);padding-left:1ex">'
            + "".join(f'<div style="font-family:arial,sans-serif">{line}</div>\r\n' for line in quoted))
    head = (f"Delivered-To: hola@casasol.example\r\nX-Forwarded-To: inbox@users.example\r\nX-Forwarded-For: hola@casasol.example inbox@users.example\r\n"
            f"Received: by 2002:a05:7300:{number:x} with SMTP id d{number}; Tue, 12 May 2026 07:41:12 -0700 (PDT)\r\n"
            f"Received: from mail.guest.example (mail.guest.example [192.0.2.7]) by mx.google.com; Tue, 12 May 2026 07:41:11 -0700 (PDT)\r\n"
            f"MIME-Version: 1.0\r\nFrom: Ana <ana{number}@guest.example>\r\nTo: Casa Sol <hola@casasol.example>\r\nSubject: Re: Arrival {number}\r\n"
            f"Date: Tue, 12 May 2026 16:41:10 +0200\r\nMessage-ID: <{number}.{os.getpid()}@guest.example>\r\n"
            f"In-Reply-To: <sent{number}@casasol.example>\r\nReferences: <first{number}@casasol.example> <sent{number}@casasol.example>\r\n"
            f'Content-Type: multipart/alternative; boundary="b{number}"\r\n\r\n')
    part = f'--b{number}\r\nContent-Type: text/plain; charset="UTF-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n{plain}\r\n--b{number}\r\nContent-Type: text/html; charset="UTF-8"\r\n\r\n'
    end = f"</blockquote></div>\r\n--b{number}--\r\n"
    room = size - len(head) - len(part) - len(html) - len(end)
    fill = ""
    while len(line := f"<div>{words(number + len(fill), 12)}</div>\r\n") + len(fill) <= room:
        fill += line
    return (head + part + html + fill + end).encode()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def cpu_seconds(pid):
    fields = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def receive(server, total, repeats, gaps):
    """Answers 200 to every post; counts ids, and numbers that are missing."""
    poll, ids, last = selectors.DefaultSelector(), set(), 0
    poll.register(server, selectors.EVENT_READ)
    open_, seq = {}, re.compile(rb'"seq":(\d+)')
    while True:
        for key, _ in poll.select():
            if key.fileobj is server:
                connection, _ = server.accept()
                open_[connection] = bytearray()
                poll.register(connection, selectors.EVENT_READ)
                continue
            connection, buffer = key.fileobj, open_[key.fileobj]
            octets = connection.recv(1 << 18)
            if not octets:
                poll.unregister(connection)
                connection.close()
                continue
            buffer += octets
            while (end := buffer.find(b"\r\n\r\n")) >= 0:
                head = bytes(buffer[:end]).lower()
                length = int(re.search(rb"content-length: *(\d+)", head)[1])
                if len(buffer) < end + 4 + length:
                    break
                name = re.search(rb"webhook-id: *(\S+)", head)[1]
                if name in ids:
                    repeats.value += 1
                else:
                    ids.add(name)
                    last = max(last, int(seq.search(buffer, end)[1]))
                    total.value = len(ids)
                    gaps.value = last - len(ids)
                del buffer[:end + 4 + length]
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def answer_names(server):
    """Every domain lets this machine send; nothing else is known, and that may be remembered."""
    while True:
        query, client = server.recvfrom(512)
        end = query.index(b"\0", 12) + 5
        question, kind = query[12:end], query[end - 4:end - 2]
        if kind == b"\0\x10" and not question.startswith(b"\x06_dmarc"):
            text = b"v=spf1 ip4:127.0.0.1 -all"
            answer = b"\xc0\x0c\0\x10\0\1" + struct.pack(">IHB", 300, len(text) + 1, len(text)) + text
            server.sendto(query[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + question + answer, client)
        else:
            soa = b"\0\0\6\0\1" + struct.pack(">IH", 300, 22) + b"\0\0" + struct.pack(">IIIII", 1, 300, 300, 300, 300)
            server.sendto(query[:2] + b"\x81\x83\0\1\0\0\0\1\0\0" + question + soa, client)


def with_names(where, children):
    """What the daemon is started by, so that it asks a name server of ours."""
    if os.geteuid() != 0:
        return []
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.77", 53))
    names = multiprocessing.Process(target=answer_names, args=(server,), daemon=True)
    names.start()
    children.append(names)
    (where / "resolv.conf").write_text("nameserver 127.0.0.77\n")
    return ["unshare", "--mount", "sh", "-c", f'mount --bind "{where}/resolv.conf" /etc/resolv.conf && exec "$@"', "sh"]


def submit(port, mails):
    """Sends mails over one connection, a mail in one flight."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        stream = s.makefile("rb")
        stream.readline()
        s.sendall(b"EHLO forwarder.example\r\n")
        while stream.readline()[3:4] == b"-":
            pass
        for octets in mails:
            s.sendall(b"MAIL FROM:<hola+caf_=inbox=users.example@casasol.example>\r\nRCPT TO:<inbox@users.example>\r\n"
                      b"BDAT %d LAST\r\n%b" % (len(octets), octets))
            for _ in range(3):
                reply = stream.readline()
                assert reply.startswith(b"250"), reply
        s.sendall(b"QUIT\r\n")
        stream.readline()


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--waystation", type=pathlib.Path, required=True)
    p.add_argument("--mails", type=int, default=20_000)
    p.add_argument("--sessions", type=int, default=32)
    p.add_argument("--relay", action="store_true")
    a = p.parse_args()
    where = pathlib.Path(tempfile.mkdtemp(prefix="waystation-forwarded-", dir=os.environ.get("TMPDIR")))
    children = []
    try:
        measure(a, where, children)
    finally:
        for child in children:
            child.kill()
        shutil.rmtree(where, ignore_errors=True)


def measure(a, where, children):
    total, repeats, gaps = (multiprocessing.Value("q", 0, lock=False) for _ in range(3))
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    hook = server.getsockname()[1]
    receiver = multiprocessing.Process(target=receive, args=(server, total, repeats, gaps), daemon=True)
    receiver.start()
    children.append(receiver)
    port, smarthost = free_port(), free_port()
    (where / "guests.secret").write_text("whsec_" + base64.b64encode(b"bench" * 5).decode())
    (where / "guests.secret").chmod(0o600)
    config = where / "waystation.toml"
    config.write_text(f"""hostname = "bench.example"
state_dir = "state"
[[listener]]
address = "127.0.0.1:{port}"
[smarthost.sol]
host = "127.0.0.1"
port = {smarthost}
tls = "none"
connections = 10
[inbox.guests]
address = "inbox@users.example"
webhook = "http://127.0.0.1:{hook}/"
secret_file = "guests.secret"
allow_private = true
[mailbox.sol]
address = "hola@casasol.example"
inbox = "guests"
token = "sol"
[log]
level = "warn"
""")
    daemon = subprocess.Popen([*with_names(where, children), a.waystation.resolve(), "run", "--config", config])
    children.append(daemon)
    while socket.socket().connect_ex(("127.0.0.1", port)):
        assert daemon.poll() is None
        time.sleep(0.05)
    mails = [mail(number) for number in range(a.mails)]
    print(f"{a.mails:,} mails of {sum(map(len, mails)) / len(mails) / 1024:.1f} KiB, {a.sessions} sessions")
    submit(port, [mail(1 << 30)])
    while total.value < 1:
        time.sleep(0.01)

    relay = None
    if a.relay:
        children.append(subprocess.Popen(["smtp-sink", "-u", "nobody", f"127.0.0.1:{smarthost}", "1000"]))
        relay = subprocess.Popen(["smtp-source", "-d", "-s", "20", "-m", str(a.mails), "-l", "4096", "-f", "app@bench.example",
                                  "-t", "guest@dest.example", f"127.0.0.1:{port}"])
        children.append(relay)
    cpu, began = cpu_seconds(daemon.pid), time.time()
    senders = [multiprocessing.Process(target=submit, args=(port, mails[at::a.sessions])) for at in range(a.sessions)]
    children.extend(senders)
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join()
        assert sender.exitcode == 0
    taken, at_taken = time.time() - began, total.value - 1
    if relay:
        relay.wait()
        print(f"  relayed beside it         {a.mails / (time.time() - began):8.0f}/s taken")
    # The rate while there is a backlog is that of reading and posting alone.
    from_, since = total.value, time.time()
    while total.value < a.mails + 1:
        time.sleep(0.01)
        if time.time() - began > 600:
            sys.exit(f"only {total.value} came")
    took = time.time() - began
    used = (cpu_seconds(daemon.pid) - cpu) / a.mails * 1e6
    print(f"  taken                     {a.mails / taken:8.0f}/s, {at_taken / taken:.0f}/s posted meanwhile")
    if total.value - from_ > 100:
        print(f"  posted, when all were in  {(total.value - from_) / (time.time() - since):8.0f}/s")
    print(f"  in to posted              {a.mails / took:8.0f}/s")
    print(f"  CPU                       {used:8.0f} µs a mail, taking it included")
    print(f"  posted twice {repeats.value}, numbers missing {gaps.value}")
    daemon.send_signal(signal.SIGTERM)
    daemon.wait(30)


main()
