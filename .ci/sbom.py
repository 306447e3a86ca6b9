"""`make sbom`: adds the embedded broker's jars, which are no Python packages, to a CycloneDX file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from include.local.broker.jars import read_lock


def jar_components() -> list[dict[str, Any]]:
    """The jars as components, with the SHA-256s that every start compares."""
    purls = {jar: f"pkg:maven/{jar.group}/{jar.artifact}@{jar.version}" for jar in read_lock()}
    return [
        {
            "type": "library",
            "bom-ref": purl,
            "group": jar.group,
            "name": jar.artifact,
            "version": jar.version,
            "purl": purl,
            "hashes": [{"alg": "SHA-256", "content": jar.sha256}],
        }
        for jar, purl in purls.items()
    ]


def main() -> None:
    """Rewrite the file that the argument names."""
    path = Path(sys.argv[1])
    document = json.loads(path.read_bytes())
    document["components"] += jar_components()
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(f"{path} lists {len(document['components'])} components.\n")


if __name__ == "__main__":
    main()
