"""Recorded results and the README's tables made from them.

results/ holds RECIPE.json, bench_*.json, onnx_on_gpu.json, STUDY.json, and torch_fidelity_ARTIFACT.json.
python -m training.results README.md    rewrites each table between its two markers, and, where autoregressive models
are among the results, results/nats_against_hours.png
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import mean, median, stdev

from training.command_line import command

NOT_OF_A_RECIPE = ("seed", "label_seed", "data_path")  # settings in which the results of one recipe may differ
START, END = "<!-- {name}: made by python -m training.results -->", "<!-- /{name} -->"


def record(workdir, folder):
    """Put the evaluation of a run into FOLDER/RECIPE.json, one object per seed and draw of labels; return that path.

    Raises:
        ValueError: if the run is not finished, its recipe is not, but for the seeds and the path of the data, the
            published one, or the data is not that of the results already there.
    """
    from training.files import read_json, write_json
    from training.recipes import recipe_named
    from training.run_folder import RunFolder

    run = RunFolder(workdir)
    if not run.evaluation_path.exists():
        raise ValueError(f"{run.path} has no evaluation.json; evaluate it first.")
    if not run.is_finished():
        raise ValueError(f"The training in {run.path} is not finished; go on with the same command, then evaluate it.")
    evaluation, recipe = read_json(run.evaluation_path), run.recipe()
    settings = {name: value for name, value in recipe.settings().items() if name not in NOT_OF_A_RECIPE}
    published = recipe_named(recipe.name).settings()
    different = [name for name in settings if settings[name] != published[name]]
    if different:
        raise ValueError(
            f"{run.path} differs from the recipe {recipe.name} in {different}; results/ holds recipes only."
        )
    path = Path(folder) / f"{recipe.name}.json"
    if recipe.takes_labels:
        evaluation["label_seed"] = recipe.label_seed
    others = [each for each in read_json(path) if seeds_of(each) != seeds_of(evaluation)] if path.exists() else []
    results = sorted([*others, {**evaluation, "settings": settings}], key=seeds_of)
    one_identity(results, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, results)
    return path


def seeds_of(result):
    return result["seed"], result.get("label_seed", 0)


def one_identity(results, path):
    """The identity of the data that all `results` were measured on; two in one row are refused."""
    identities = [result["data"] for result in results]
    if any(identity != identities[0] for identity in identities):
        raise ValueError(f"{path} would mix results on different data, which cannot be compared: {identities}.")
    return identities[0]


def likelihood_table(folder):
    """Markdown: a row per recipe in `folder` that has a published number; obtained beside published."""
    from training.files import read_json
    from training.published import REFERENCES

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
            f"| {reference.text()} | {reference.source} | {minutes:.0f} |"
        )
        samples = results[0]["metrics"].get("num_importance_samples")
        how = f"{samples} importance samples" if samples else "exact"
        captions[name] = (
            f"`{name}`: {identity['name']} {identity['split']}, {identity['num_examples']:,} images, "
            f"{identity['binarization']} binarization, sha256 {identity['sha256'][:8]}, {how}"
        )
    return "\n".join([*lines, "", *(f"{caption}." for caption in captions.values())])


def baseline_table(folder):
    """Markdown: a row per recipe in `folder` that has a number of another computation beside its own."""
    from training.files import read_json
    from training.published import BASELINES

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


def asked_table(folder):
    """Markdown: what the evaluation says of the recipes in `folder` of which more is asked than a likelihood."""
    from training.files import read_json
    from training.published import ASKED

    lines = ["| recipe | metric | this zoo | asked | runs | minutes a run |", "|---|---|---|---|---|---|"]
    for name, asked in ASKED.items():
        path = Path(folder) / f"{name}.json"
        if not path.exists():
            continue
        results = read_json(path)
        one_identity(results, path)
        minutes = mean(result["minutes"] for result in results)
        for metric, bound in asked.items():
            values = [result["metrics"][metric] for result in results]
            found = ", ".join(f"{value:.4g}" for value in values)
            if bound.startswith("median") and len(values) > 1:
                found = f"{median(values):.4g} of {found}"
            lines.append(f"| `{name}` | {metric} | {found} | {bound} | {len(results)} | {minutes:.0f} |")
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
                ratio = "" if name == comparison["ours"] else ratio_text(contender["ratio"])
                asked = "" if contender["asked_ratio"] is None else f"<= {contender['asked_ratio']:.2f} x"
                seconds = duration(contender["median_seconds"])
                lines.append(f"| {comparison['title']}: {name} | {seconds} | {ratio} | {asked} |")
    return "\n".join(lines)


def ratio_text(ratio):
    return f"{ratio:.2f} x" if ratio >= 0.1 else f"{ratio:.2g} x"


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


def theory_table(folder):
    """Markdown: what the studies of adversarial theory found, beside what was asked or is known in closed form."""
    from training.files import read_json

    lines = ["| study | quantity | found | wanted |", "|---|---|---|---|"]

    def rows_of(study):
        path = Path(folder) / f"{study}.json"
        return read_json(path) if path.exists() else None

    if optimal := rows_of("optimal_discriminator"):
        rmse, error = (optimal["targets"][name] for name in ("rmse", "value_error"))
        for row in optimal["rows"]:
            study = f"| `optimal_discriminator` | {row['what']}"
            lines += [
                f"{study}: RMSE of the logits against log p/q | {row['rmse']:.3f} | <= {rmse} |",
                f"{study}: value of the game | {row['value']:.5f} | {row['optimal_value']:.5f} +- {error} |",
            ]
    if vanishing := rows_of("vanishing_gradient"):
        for row in vanishing["rows"]:
            found, golden = (f"{each['minimax']:.3e}, {each['non_saturating']:.5f}" for each in (row, row["golden"]))
            quantity = f"gradients at distance {row['theta']:g}: minimax, non-saturating"
            lines.append(f"| `vanishing_gradient` | {quantity} | {found} | {golden} |")
    if ratio := rows_of("density_ratio"):
        odds = ratio["odds"]
        for name in ("corrected", "not corrected"):
            found, truth = (f"{each['rmse']:.3f}, {each['jensen_shannon']:.4f}" for each in (odds[name], odds["truth"]))
            quantity = f"3 : 1 samples, prior odds {name}: RMSE of log p/q, JSD (nats)"
            lines.append(f"| `density_ratio` | {quantity} | {found} | {truth} |")
        farthest = ratio["chasm"][-1]
        lines.append(
            f"| `density_ratio` | KL of two unit Gaussians {farthest['theta']:g} apart, the density chasm (nats) "
            f"| {farthest['plug_in']:.1f} | {farthest['truth']:.1f} |"
        )
    return "\n".join(lines)


def dirac_gan_table(folder):
    """Markdown: a row per objective of the study dirac_gan, without and with R1."""
    from training.files import read_json

    lines = ["| objective | eigenvalues | with R1 | converges | with R1 |", "|---|---|---|---|---|"]
    path = Path(folder) / "dirac_gan.json"
    rows = read_json(path)["rows"] if path.exists() else []
    for plain, penalized in zip(rows[::2], rows[1::2], strict=True):
        pair = (plain, penalized)
        eigenvalues = [" and ".join(complex_text(each) for each in row["eigenvalues"] or ()) or "none" for row in pair]
        converges = ["yes" if row["alternating"]["converged"] else "no" for row in pair]
        lines.append("| " + " | ".join((plain["objective"], *eigenvalues, *converges)) + " |")
    return "\n".join(lines)


def complex_text(parts):
    real, imaginary = parts
    return f"{real:.2f} {'-' if imaginary < 0 else '+'} {abs(imaginary):.2f}i".replace("-0.00", "0.00")


def mode_collapse_table(folder, protocol):
    """Markdown: a row per data set and method of the study mode_collapse under one protocol."""
    from training.files import read_json
    from training.studies.mode_collapse import METRICS, caption, cell

    lines = [
        "| data | method | modes | % high quality | reverse KL (nats) | sigma ratio | CPU seconds | all modes in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    path = Path(folder) / f"mode_collapse_{protocol}.json"
    if not path.exists():
        return "\n".join(lines)
    result = read_json(path)
    captions = {}
    for row in result["summary"]:
        cells = " | ".join(cell(name, row[name]) for name in METRICS)
        diverged = f"; {row['num_diverged']} diverged" if row["num_diverged"] else ""
        found = f"{row['num_all_modes']} of {row['num_seeds']} runs{diverged}"
        lines.append(f"| {row['data']} | {row['method']} | {cells} | {found} |")
        if row["published"]:
            cells = " | ".join(cell(name, row["published"].get(name, (None, None))) for name in METRICS)
            lines.append(f"| {row['data']} | {row['method']}, {row['published']['source']} | {cells} | |")
        captions[row["data"]] = f"{row['data']}: {caption(result, row)}"
    return "\n".join([*lines, "", *captions.values()])


def study_table(folder, study, of=None):
    """Markdown: the table of a study as it shows it in the terminal; "" if it is not recorded.

    of: which result, of a study that writes several, STUDY_OF.json.
    """
    from training.files import read_json
    from training.studies import study_named

    path = Path(folder) / (f"{study}_{of}.json" if of else f"{study}.json")
    if not path.exists():
        return ""
    result, module = read_json(path), study_named(study)
    header, *rows = ([cell.replace("|", "\\|") for cell in cells] for cells in module.table_rows(result))
    lines = [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
    return "\n".join([*lines, "", f"{module.caption(result)}."])


def duration(seconds):
    if seconds >= 0.1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.0f} ms" if seconds >= 0.01 else f"{1e6 * seconds:.0f} us"


def torch_fidelity_table(folder):
    """Markdown: what torch-fidelity says of the exported generators in `folder`, beside what this project says."""
    from training.files import read_json

    lines = ["| artifact | metric | torch-fidelity | this zoo | floor |", "|---|---|---|---|---|"]
    captions = []
    for path in sorted(Path(folder).glob("torch_fidelity_*.json")):
        result = read_json(path)
        for name, row in result["metrics"].items():
            floor = "" if row["floor"] is None else f"{row['floor']:.4g}"
            lines.append(
                f"| `{result['artifact']}` | {name} | {row['torch_fidelity']:.4g} | {row['zoo']:.4g} | {floor} |"
            )
        captions.append(
            f"`{result['artifact']}`: {result['num_samples']:,} samples of the ONNX graph against "
            f"{result['data']['name']} {result['data']['split']}, sha256 {result['data']['sha256'][:8]}; features of "
            f"{result['features']['network']}, sha256 {result['features']['sha256'][:8]}; torch-fidelity "
            f"{result['versions']['torch-fidelity']}."
        )
    return "\n".join([*lines, "", *captions] if captions else lines)


def gpu_table(folder):
    """Markdown: a row per exported endpoint that was run on a GPU; its error, and its time beside the CPU's."""
    from training.files import read_json

    path = Path(folder) / "onnx_on_gpu.json"
    lines = ["| artifact | endpoint | largest relative error | batch | GPU | CPU |", "|---|---|---|---|---|---|"]
    if not path.exists():
        return "\n".join(lines)
    result = read_json(path)
    for each in result["endpoints"]:
        for size, seconds in each["gpu_seconds"].items():
            on_cpu = each["cpu_seconds"].get(size)
            lines.append(
                f"| `{each['artifact']}` | {each['endpoint']} | {each['largest_relative_error']:.1e} | {size} "
                f"| {duration(seconds)} | {'' if on_cpu is None else duration(on_cpu)} |"
            )
    runtime = f"ONNX Runtime {result['versions']['onnxruntime-gpu']}"
    caption = f"{result['device'].split(',')[0]} and the {result['cores']} cores beside it, {runtime}."
    return "\n".join([*lines, "", " ".join([caption, *filter(None, [result.get("note")])])])


TABLES = {  # the name between the markers
    "zoo of mnist": partial(study_table, study="zoo_table", of="mnist"),
    "zoo of fashion_mnist": partial(study_table, study="zoo_table", of="fashion_mnist"),
    "likelihoods": likelihood_table,
    "baselines": baseline_table,
    "asked": asked_table,
    "benchmarks": benchmark_table,
    "baseline benchmarks": baseline_benchmark_table,
    "gpu": gpu_table,
    "parzen": parzen_table,
    "torch-fidelity": torch_fidelity_table,
    "latent spaces": partial(study_table, study="latent_spaces"),
    "completion": partial(study_table, study="completion"),
    "theory": theory_table,
    "dirac gan": dirac_gan_table,
    "mode collapse quick": partial(mode_collapse_table, protocol="quick"),
    "mode collapse sharp": partial(mode_collapse_table, protocol="sharp"),
    "stacked mnist": partial(study_table, study="stacked_mnist"),
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


def draw_nats_against_hours(folder):
    """Write FOLDER/nats_against_hours.png of the first seeds of the autoregressive recipes, if there are any."""
    from training.files import read_json
    from training.pictures import save_nats_against_hours
    from training.published import REFERENCES
    from training.recipes import RECIPES

    paths = {name: Path(folder) / f"{name}.json" for name in RECIPES}
    first = {name: read_json(path)[0] for name, path in paths.items() if path.exists()}
    curves = {name: result for name, result in first.items() if "validation_nll" in result["metrics"]}
    if curves:
        published = {name: REFERENCES[name].value for name in curves if name in REFERENCES}
        save_nats_against_hours(curves, published, Path(folder) / "nats_against_hours.png")


@command
def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m training.results", description="Rewrite the tables of results.")
    parser.add_argument("readme", type=Path, nargs="?", default=Path("README.md"))
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of the recorded results")
    arguments = parser.parse_args(argv)

    from training.files import write_text

    write_text(arguments.readme, with_tables(arguments.readme.read_text(encoding="utf-8"), arguments.results))
    draw_nats_against_hours(arguments.results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
