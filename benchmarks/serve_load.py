"""How `foveal serve` bears load: capacity, half, once and four times of it, a soak with hostile senders, clean ends.

    python benchmarks/serve_load.py --out RESULT.md [--seconds 60] [--soak 600] [--ends 100]

The service has the last core to itself, the generator the others; run it on a quiet machine.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from promises import server


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a bundle; the default backbone with a random head by default")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--soak", type=float, default=600)
    parser.add_argument("--ends", type=int, default=100)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or Path(folder) / "model.safetensors"
        if args.model is None:
            server.write_model(model)
        rows = []
        judged = server.overload(model, args.seconds, rows)
        print(*rows, json.dumps(judged), sep="\n", flush=True)
        long = server.soak(model, args.soak) if args.soak else {}
        print(long, flush=True)
        bad = server.ends(model, args.ends) if args.ends else 0
        print(f"{args.ends - bad} of {args.ends} ends clean", flush=True)
    head, *body = [row for row in rows if len(row) > 1]
    table = ["| " + " | ".join(map(str, row)) + " |" for row in (head, ["---"] * len(head), *body)]
    lines = [*table, "", *(row[0] for row in rows if len(row) == 1), f"judged at 4 x: {json.dumps(judged)}"]
    lines += [f"soak of {args.soak:g} s: {json.dumps(long)}", f"{args.ends - bad} of {args.ends} ends clean"]
    args.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
