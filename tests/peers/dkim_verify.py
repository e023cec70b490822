"""Verifies the message on standard input against a public key: dkim_verify.py PUBLIC-KEY-BASE64. Exit 0 if good."""
import sys, dkim

record = b"v=DKIM1; k=rsa; p=" + sys.argv[1].encode()
sys.exit(0 if dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: record) else 1)
