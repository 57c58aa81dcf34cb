"""A client of ``offline-agents serve`` in ten lines: ``python client.py http://127.0.0.1:8000`` acts once."""

import json
import sys
import urllib.request


def ask(path, **values):
    request = urllib.request.Request(f"{sys.argv[1]}/{path}", json.dumps(values).encode())
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


contract = json.load(urllib.request.urlopen(f"{sys.argv[1]}/contract"))
session = ask("reset")["session"]  # at the start of every episode
observation = {part["name"].removeprefix("observation."): part["low"] for part in contract["observations"]}
print(ask("act", session=session, observation=observation)["action"])
