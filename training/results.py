"""Recorded results: results/RECIPE.json, bench_*.json and parzen.json, and the README's tables made from them.

python -m training.results README.md    rewrites each table between its two markers
"""

import argparse
import sys
from pathlib import Path
from statistics import mean, stdev

from training.command_line import command

START, END = "<!-- {name}: made by python -m training.results -->", "<!-- /{name} -->"


def record(workdir, folder):
    """Put the evaluation of a run into FOLDER/RECIPE.json, one object per seed, and return that path.

    Raises:
        ValueError: if the run's recipe is not, but for the seed and the path of the data, the published one, or the
            data is not that of the results already there.
    """
    from training.files import read_json, write_json
    from training.recipes import recipe_named
    from training.run_folder import RunFolder

    run = RunFolder(workdir)
    if not run.evaluation_path.exists():
        raise ValueError(f"{run.path} has no evaluation.json; evaluate it first.")
    evaluation, recipe = read_json(run.evaluation_path), run.recipe()
    settings = {name: value for name, value in recipe.settings().items() if name not in ("seed", "data_path")}
    published = recipe_named(recipe.name).settings()
    different = [name for name in settings if settings[name] != published[name]]
    if different:
        raise ValueError(
            f"{run.path} differs from the recipe {recipe.name} in {different}; results/ holds recipes only."
        )
    path = Path(folder) / f"{recipe.name}.json"
    others = [result for result in read_json(path) if result["seed"] != recipe.seed] if path.exists() else []
    results = sorted([*others, {**evaluation, "settings": settings}], key=lambda result: result["seed"])
    one_identity(results, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, results)
    return path


def one_identity(results, path):
    """The identity of the data that all `results` were measured on; two in one row are refused."""
    identities = [result["data"] for result in results]
    if any(identity != identities[0] for identity in identities):
        raise ValueError(f"{path} would mix results on different data, which cannot be compared: {identities}.")
    return identities[0]


def likelihood_table(folder):
    """Markdown: a row per recipe in `folder` that has a published number; obtained beside published."""
    from training.files import read_json
    from training.recipes import REFERENCES

    lines = [
        "| recipe | metric (nats) | this zoo | seeds | published | source | minutes a seed |",
        "|---|---|---|---|---|---|---|",
    ]
    captions = {}
    for name, reference in REFERENCES.items():
        path = Path(folder) / f"{name}.json"
        if not path.exists():
            continue
        results = read_json(path)
        identity = one_identity(results, path)
        values = [result["metrics"][reference.metric] for result in results]
        spread = f" +- {stdev(values):.2f}" if len(values) > 1 else ""
        minutes = mean(result["minutes"] + result["evaluation_minutes"] for result in results)
        lines.append(
            f"| `{name}` | {reference.metric} | {mean(values):.2f}{spread} | {len(values)} "
            f"| {reference.value:.2f} +- {reference.standard_deviation:.2f} | {reference.source} | {minutes:.0f} |"
        )
        samples = results[0]["metrics"]["num_importance_samples"]
        captions[name] = (
            f"`{name}`: {identity['name']} {identity['split']}, {identity['num_examples']:,} images, "
            f"{identity['binarization']} binarization, sha256 {identity['sha256'][:8]}, {samples} importance samples"
        )
    return "\n".join([*lines, "", *(f"{caption}." for caption in captions.values())])


def baseline_table(folder):
    """Markdown: a row per recipe in `folder` that has a number of another computation beside its own."""
    from training.files import read_json
    from training.recipes import BASELINES

    lines = [
        "| recipe | metric | this zoo | beside it | by | seeds | minutes a seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, baseline in BASELINES.items():
        path = Path(folder) / f"{name}.json"
        if not path.exists():
            continue
        results = read_json(path)
        one_identity(results, path)
        metrics = [result["metrics"] for result in results]
        others = [each[baseline.reference_metric] for each in metrics if baseline.reference_metric in each]
        minutes = mean(result["minutes"] for result in results)
        lines.append(
            f"| `{name}` | {baseline.metric} | {mean_and_spread([each[baseline.metric] for each in metrics])} "
            f"| {mean_and_spread(others) if others else ''} | {baseline.source} | {len(results)} | {minutes:.1f} |"
        )
    return "\n".join(lines)


def mean_and_spread(values):
    spread = f" +- {stdev(values):,.2f}" if len(values) > 1 else ""
    return f"{mean(values):,.2f}{spread}"


def benchmark_table(folder):
    """Markdown: a row per contender of each recorded benchmark; the first of each comparison is this project."""
    from training.files import read_json

    lines = ["| | median | this zoo takes | asked |", "|---|---|---|---|"]
    for path in sorted(Path(folder).glob("bench_*.json")):
        for comparison in read_json(path)["comparisons"]:
            for name, contender in comparison["contenders"].items():
                ratio = "" if name == comparison["ours"] else f"{contender['ratio']:.2f} x"
                asked = "" if contender["asked_ratio"] is None else f"<= {contender['asked_ratio']:.2f} x"
                seconds = duration(contender["median_seconds"])
                lines.append(f"| {comparison['title']}: {name} | {seconds} | {ratio} | {asked} |")
    return "\n".join(lines)


def baseline_benchmark_table(folder):
    """Markdown: the memory of PCA and k-means as a stream grows, and what leaves of them against float64."""
    from training.files import read_json

    lines = ["| | found | asked |", "|---|---|---|"]
    path = Path(folder) / "bench_baselines.json"
    if not path.exists():
        return "\n".join(lines)
    measured = read_json(path)
    for row in measured["memory"]:
        (few, many), (small, large) = row["examples"], row["peak_megabytes"]
        found = f"{small} MB for {few:,}, {large} MB for {many:,}: {row['ratio']:.2f} x"
        lines.append(f"| peak memory of {row['title']} | {found} | <= {row['asked_ratio']:.2f} x |")
    for row in measured["deployment"]:
        found = ", ".join(f"{runtime} {value:.2g}" for runtime, value in row["found"].items())
        lines.append(f"| {row['title']} | {found} | {row['asked']:.2g} |")
        lines += [f"| tie: {tie} | | |" for tie in row["ties"]]
    return "\n".join(lines)


def parzen_table(folder):
    """Markdown: a row per contender of the study parzen; obtained beside published."""
    from training.files import read_json

    lines = ["| contender | Parzen log-likelihood (nats) | published | sigma |", "|---|---|---|---|"]
    path = Path(folder) / "parzen.json"
    if not path.exists():
        return "\n".join(lines)
    result = read_json(path)
    rows, data = result["rows"], result["data"]["test"]
    for row in rows:
        reference = row["published"]
        published = "{value:.0f} +- {standard_error:.0f}, {source}".format(**reference) if reference else ""
        lines.append(
            f"| {row['name']} | {row['log_likelihood']:.1f} +- {row['standard_error']:.1f} "
            f"| {published} | {row['sigma']:.3f} |"
        )
    scores = {row["name"]: row["log_likelihood"] for row in rows}
    above = [name for name, score in scores.items() if score > scores["training images"]]
    caption = (
        f"{data['name']} {data['split']}, {data['num_examples']:,} gray images, sha256 {data['sha256'][:8]}; "
        f"{rows[0]['num_samples']:,} samples of each; +- the standard error over the test images. A score that puts "
        f"{'; '.join(above) or 'nothing'} above the data themselves does not rank models: the likelihoods of this zoo "
        "are exact, bounds or importance-sampled, never Parzen."
    )
    return "\n".join([*lines, "", caption])


def duration(seconds):
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e6 * seconds:.0f} us"


TABLES = {  # the name between the markers
    "likelihoods": likelihood_table,
    "baselines": baseline_table,
    "benchmarks": benchmark_table,
    "baseline benchmarks": baseline_benchmark_table,
    "parzen": parzen_table,
}


def with_tables(text, folder):
    """`text` with what stands between the markers of each table replaced by the table of the results in `folder`."""
    for name, function in TABLES.items():
        start, end = START.format(name=name), END.format(name=name)
        if start not in text or end not in text:
            raise ValueError(f"The file has no lines {start} and {end}; put them where the table belongs.")
        before, rest = text.split(start, 1)
        text = f"{before}{start}\n{function(folder)}\n{end}{rest.split(end, 1)[1]}"
    return text


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.results", description="Rewrite the tables of results.")
    parser.add_argument("readme", type=Path, nargs="?", default=Path("README.md"))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the recorded results")
    arguments = parser.parse_args(argv)

    from training.files import write_text

    write_text(arguments.readme, with_tables(arguments.readme.read_text(encoding="utf-8"), arguments.results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
