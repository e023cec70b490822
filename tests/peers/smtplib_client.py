"""Sends messages with Python's smtplib, as a JSON object on standard input says; prints the final replies."""
import base64, json, smtplib, ssl, sys

job = json.load(sys.stdin)
context = ssl.create_default_context(cafile=job["ca"]) if job.get("ca") else None
if job["tls"] == "implicit":
    smtp = smtplib.SMTP_SSL(job["host"], job["port"], timeout=50, context=context)
else:
    smtp = smtplib.SMTP(job["host"], job["port"], timeout=50)
with smtp:
    smtp.ehlo("python.test")
    if job["tls"] == "starttls":
        smtp.starttls(context=context)
        smtp.ehlo("python.test")
    if job.get("login"):
        mechanism, smtp.user, smtp.password = job["login"]
        initial = job.get("initial", True)
        verb = {"PLAIN": smtp.auth_plain, "LOGIN": smtp.auth_login}[mechanism]
        print(*smtp.auth(mechanism, verb, initial_response_ok=initial))
    refused = smtp.sendmail(job["sender"], job["recipients"], base64.b64decode(job["content"]), job.get("options", []))
    assert not refused, refused
