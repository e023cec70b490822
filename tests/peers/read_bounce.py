"""Reads a delivery status notification on standard input with Python's email package, and prints it as JSON."""
import email, email.policy, json, sys

message = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
words, status, original = message.iter_parts()
groups = [dict(group.items()) for group in status.get_payload()]
print(json.dumps({
    "defects": [str(d) for part in message.walk() for d in part.defects],
    "type": message.get_content_type(),
    "report_type": message.get_param("report-type"),
    "to": message["To"], "from": message["From"], "auto_submitted": message["Auto-Submitted"],
    "parts": [part.get_content_type() for part in message.iter_parts()],
    "words": words.get_content(),
    "message": groups[0], "recipients": groups[1:],
    "original": original.as_string() if original.is_multipart() else original.get_content(),
}))
