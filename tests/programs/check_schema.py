"""Says what is wrong with a value by a schema of one of the protocol's releases, as its own Python package has them.

    check_schema.py RELEASE SCHEMA    the value is read from stdin; prints a list of what is wrong, empty if nothing is
"""

import importlib.util
import json
import sys
from pathlib import Path

from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

# Some releases' schemas refer to each other by path, some by relative and some by absolute URLs: each names host and version first.
ROOT = "https://adcontextprotocol.org/schemas/latest/"


def main(release, schema):
    # Without importing it, which takes long.
    (package,) = importlib.util.find_spec("adcp").submodule_search_locations
    directory = Path(package, "_schemas", release)

    def retrieve(url):
        path = url.removeprefix("https://adcontextprotocol.org/schemas/").partition("/")[2]
        return DRAFT7.create_resource(json.loads((directory / path).read_text()))

    validator = Draft7Validator({"$ref": ROOT + schema}, registry=Registry(retrieve=retrieve))
    wrong = validator.iter_errors(json.load(sys.stdin))
    print(json.dumps([f"{error.json_path}: {error.message}" for error in wrong]))


main(*sys.argv[1:])
