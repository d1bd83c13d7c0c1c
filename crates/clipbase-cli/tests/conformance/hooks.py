"""Gives schemathesis something real to ask for, and counts what it is answered.

MATERIAL names a JSON file: for each operation a list of {"path", "query", "body"}, any of them, that the server knows.
Every other call of an operation gets the next of them, in turn; the rest are made up. TALLY names the file to which a
line is added for each answer: the operation and the status.
"""

import itertools
import json
import os
from collections import defaultdict

import schemathesis
from schemathesis.core.parameters import ParameterLocation

with open(os.environ["MATERIAL"], encoding="utf-8") as file:
    MATERIAL = {label: itertools.cycle(known) for label, known in json.load(file).items()}
CALLS = defaultdict(itertools.count)


def may_change(case, location):
    """What was made to be refused stays as it was made."""
    return case.meta is None or not case.meta.is_negative_at(location)


@schemathesis.hook
def before_call(ctx, case, kwargs):
    label = case.operation.label
    if label not in MATERIAL or next(CALLS[label]) % 2:
        return
    known = next(MATERIAL[label])
    places = {
        "path": (ParameterLocation.PATH, case.path_parameters),
        "query": (ParameterLocation.QUERY, case.query),
        "body": (ParameterLocation.BODY, case.body),
    }
    for name, values in known.items():
        location, place = places[name]
        if may_change(case, location) and isinstance(place, dict):
            place.update(values)


@schemathesis.hook
def after_call(ctx, case, response):
    # A method that the operation does not have is another question.
    if response.request.method == case.operation.method.upper():
        with open(os.environ["TALLY"], "a", encoding="utf-8") as tally:
            tally.write(f"{case.operation.label}\t{response.status_code}\n")
