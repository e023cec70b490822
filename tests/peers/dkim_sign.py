"""Signs the message on standard input: dkim_sign.py KEY.pem HEADER-CANON/BODY-CANON. Prints it with its signature."""
import sys, dkim

message = sys.stdin.buffer.read()
header, body = sys.argv[2].encode().split(b"/")
key = open(sys.argv[1], "rb").read()
signature = dkim.sign(message, b"s1", b"shop.test", key, canonicalize=(header, body),
                      include_headers=[b"from", b"to", b"subject", b"date", b"message-id", b"mime-version", b"x-folded"])
sys.stdout.buffer.write(signature + message)
