"""Reads a webhook's body as a Django site with anymail would, and prints what the site sees.

    read_anymail.py postmark|mailgun CONTENT_TYPE SIGNING_KEY < body
"""
import json
import sys

import django
from django.conf import settings

kind, content_type, key = sys.argv[1:]
settings.configure(
    SECRET_KEY="x",
    ALLOWED_HOSTS=["*"],
    ANYMAIL={"MAILGUN_WEBHOOK_SIGNING_KEY": key, "WEBHOOK_SECRET": "user:password"},
)
django.setup()

from anymail.signals import inbound
from anymail.webhooks.mailgun import MailgunInboundWebhookView
from anymail.webhooks.postmark import PostmarkInboundWebhookView
from django.test import RequestFactory

seen = []


def take(sender, event, esp_name, **_):
    message = event.message
    seen.append({
        "esp": esp_name,
        "event_id": event.event_id,
        "from": [message.from_email.display_name, message.from_email.addr_spec],
        "to": [[each.display_name, each.addr_spec] for each in message.to],
        "cc": [each.addr_spec for each in message.cc],
        "subject": message.subject,
        "date": message.date.isoformat(),
        "message_id": message["Message-ID"],
        "text": message.text,
        "html": message.html,
        "stripped": message.stripped_text,
        "envelope": [message.envelope_sender, message.envelope_recipient],
        "attachments": [[each.get_filename(), each.get_content_type(), each.get_content_bytes().hex()] for each in message.attachments],
        "inlines": [[each.get_filename(), each.get_content_type(), each.get_content_bytes().hex()] for each in message.inlines],
    })


inbound.connect(take)
view = {"postmark": PostmarkInboundWebhookView, "mailgun": MailgunInboundWebhookView}[kind]
request = RequestFactory().post(
    "/hook/", data=sys.stdin.buffer.read(), content_type=content_type, headers={"Authorization": "Basic dXNlcjpwYXNzd29yZA=="}
)
answer = view.as_view()(request)
assert answer.status_code == 200, answer.content
print(json.dumps(seen[0]))
