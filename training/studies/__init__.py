"""The figures and tables of the field as runnable studies: python -m training.studies NAME; --list.

A study is a module here with
    add_flags(parser)       its own flags, beside --workdir and --record
    run(workdir, **flags)   the study itself; returns and writes WORKDIR/NAME.json, with WORKDIR/NAME.png beside
    show(result)            the result as a table in the terminal
"""

import importlib

STUDIES = {
    "parzen": "k-means 'beats' real images by the Parzen-window log-likelihood (Theis et al. 2016, table 1)",
}


def study_named(name):
    """The module of a study; a ValueError with the near names if there is none."""
    from training.data import near

    if name not in STUDIES:
        raise ValueError(f"There is no study {name!r}{near(name, STUDIES)}; {', '.join(STUDIES)} is wanted.")
    return importlib.import_module(f"training.studies.{name}")
