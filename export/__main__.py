"""python -m export RUN --out DIST/NAME: turn a run folder into a verified artifact that stands alone."""

import argparse
import os
import sys


def main(argv=None):
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(
        prog="python -m export", description="Turn a run folder into a verified artifact: SavedModel, ONNX and a card."
    )
    parser.add_argument("run", metavar="RUN", help="the run folder; its last finished epoch is exported")
    parser.add_argument("--out", required=True, metavar="DIR", help="the artifact's folder, which must not exist yet")
    arguments = parser.parse_args(argv)

    try:
        from export.pipeline import export_run  # it imports TensorFlow, which --help need not wait for

        out = export_run(arguments.run, arguments.out)
    except ModuleNotFoundError as error:
        print(f"error: {error}; install what export needs, the extra generative-zoo[export]", file=sys.stderr)
        return 1
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; nothing was written", file=sys.stderr)
        return 1
    print(f"artifact: {out}, verified; {out / 'README.md'} says how to run it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
