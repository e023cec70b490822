"""Verifies a webhook as a receiver in Python would: secret as the argument, {"headers", "body"} on standard input."""

import json
import sys

from standardwebhooks import Webhook

request = json.load(sys.stdin)
event = Webhook(sys.argv[1]).verify(request["body"], request["headers"])
print(event["type"], event["data"]["seq"])
