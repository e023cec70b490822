"""Signs mail: sign.py KEY.pem < jobs. A job is a line of JSON: message (base64), domain, selector, canonicalization, and arc for a
seal instead. Prints each message with its signature, in base64, a line each."""
import base64, json, sys
import dkim

key = open(sys.argv[1], "rb").read()
for line in sys.stdin:
    job = json.loads(line)
    message = base64.b64decode(job["message"])
    domain, selector = job["domain"].encode(), job["selector"].encode()
    header, body = job["canonicalization"].encode().split(b"/")
    if job["arc"]:
        fields = b"".join(dkim.arc_sign(message, selector, domain, key, domain, include_headers=[b"from", b"to", b"subject"]))
    else:
        fields = dkim.sign(message, selector, domain, key, canonicalize=(header, body), include_headers=[b"from", b"to", b"subject"])
    print(base64.b64encode(fields + message).decode(), flush=True)
