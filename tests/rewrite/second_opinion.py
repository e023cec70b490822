"""What Python's email package reads out of rewritten fields.

Standard input: a JSON list of cases. Each From must hold the mailbox and nothing else, each Sender likewise, without a
defect; each Reply-To must hold exactly the addresses that Python finds in the original From, where Python finds any
without complaint.
"""
import email.policy
import email.utils
import json
import sys

# Where the two readings differ, and why ours stands.
DIFFERENT = {
    "obsolete route": "getaddresses takes the hop for an address; RFC 5322 section 4.4 says that it is none",
    "a name that is another address without quotes": "getaddresses reads two addresses where a comma is missing",
    "two addresses of which one needs SMTPUTF8": "that one is left out, because the message can't carry it",
}

policy = email.policy.default.clone(refold_source="none")


def read(field):
    """The addresses of a whole field, and what is wrong with it."""
    name, _ = field.split(":", 1)
    message = email.message_from_string(field + "\r\n", policy=policy)
    value = message[name]
    # A name is kept as it came, also where it has an encoded word out of place.
    defects = [one for one in [*value.defects, *message.defects] if "encoded" not in str(one)]
    return [address.addr_spec for address in value.addresses], defects


wrong, compared = [], 0
cases = json.load(sys.stdin)
for case in cases:
    mailbox = case["mailbox"]
    for kind in ("from", "sender"):
        for field in case[kind]:
            addresses, defects = read(field)
            if addresses != [mailbox] or defects:
                wrong.append(f"{case['name']}: {field!r} reads as {addresses} {defects}")
    for field in case["reply_to"]:
        addresses, defects = read(field)
        if defects:
            wrong.append(f"{case['name']}: {field!r} {defects}")
        # Python's own reading of the original, by its other parser; strict, so that it gives up on what is ambiguous.
        original = email.utils.getaddresses(case["original"])
        expected = [address for _, address in original if "@" in address]
        if expected and all(name or address for name, address in original):
            compared += 1
            if addresses != expected and case["name"] not in DIFFERENT:
                wrong.append(f"{case['name']}: Reply-To {addresses}, original {expected}")
print(f"{len(cases)} cases read, {compared} Reply-To fields compared")
if wrong:
    sys.exit("\n".join(wrong))
