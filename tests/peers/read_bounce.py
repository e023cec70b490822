"""Reads a delivery status notification on standard input with Python's email package, and prints it as JSON."""
import email, email.policy, json, quopri, sys


def text(part):
    """What stands in a message/global part (RFC 6532, RFC 6533), which the package takes for a message, encoded or not."""
    octets = part.get_payload(0).as_bytes()
    if part["Content-Transfer-Encoding"] == "quoted-printable":
        octets = quopri.decodestring(octets)
    return octets.decode()


def groups(part):
    if part.get_content_type() == "message/delivery-status":
        return [dict(group.items()) for group in part.get_payload()]
    parse = lambda group: dict(line.split(": ", 1) for line in group.splitlines() if line[0] not in " \t")
    return [parse(group) for group in text(part).replace("\r\n", "\n").strip().split("\n\n")]


message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
words, status, original = message.iter_parts()
status = groups(status)
if original.get_content_type().startswith("message/global"):
    original = text(original)
else:
    original = original.as_string() if original.is_multipart() else original.get_content()
print(json.dumps({
    "defects": [str(d) for part in message.walk() for d in part.defects],
    "type": message.get_content_type(),
    "report_type": message.get_param("report-type"),
    "to": message["To"], "from": message["From"], "auto_submitted": message["Auto-Submitted"],
    "parts": [part.get_content_type() for part in message.iter_parts()],
    "words": words.get_content(),
    "message": status[0], "recipients": status[1:],
    "original": original,
}))
