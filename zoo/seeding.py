"""Where k-means starts: k-means++ (Arthur and Vassilvitskii 2007) and k-means|| (Bahmani et al. 2012).

Both spread the centroids: an example becomes one with probability proportional to D^2, the square of its distance to
the nearest centroid chosen so far. k-means++ chooses one at a time; k-means|| 2 k in each of a few passes over a
stream, and k of these by a k-means++ that counts how many examples each stands for. Rows are examples [features].
"""

import numpy as np

from zoo.inputs import BLOCK_ROWS, blocks

ROUNDS = 5  # of k-means||: Bahmani et al. find no gain from more, section 5
SAMPLE_ROWS = 10_000  # k-means++ on a stream starts from a uniform sample of it of this size, or SAMPLE_PER_CLUSTER k
SAMPLE_PER_CLUSTER = 100


def initial_centroids(x, num_clusters, initialization, generator):
    """[num_clusters, features]: examples in checked `x`.

    Args:
        initialization: "k-means++" (of a stream: on a uniform sample of it), "k-means||", or "random".
        generator: a NumPy generator.

    Raises:
        ValueError: for fewer examples, or fewer distinct examples, than clusters.
    """
    if initialization == "k-means||":
        return k_means_parallel(x, num_clusters, generator)
    if initialization == "random":
        return uniform_sample(x, num_clusters, generator, at_least=num_clusters)
    if isinstance(x, np.ndarray):
        check_count(len(x), num_clusters)
        points = x.reshape(len(x), -1)
    else:
        size = max(SAMPLE_ROWS, SAMPLE_PER_CLUSTER * num_clusters)
        points = uniform_sample(x, size, generator, at_least=num_clusters)
    return k_means_plus_plus(points, np.ones(len(points)), num_clusters, generator)


def k_means_plus_plus(points, weights, num_clusters, generator):
    """Greedy k-means++: of 2 + log k draws, the one that lowers sum_n weight_n D_n^2 the most becomes a centroid."""
    trials = 2 + int(np.log(num_clusters))
    squared_distances = SquaredDistances(points)
    chosen = generator.choice(len(points), 1, p=weights / weights.sum())
    nearest = squared_distances(points[chosen])[0]
    while len(chosen) < num_clusters:
        potential = np.cumsum(weights * nearest)
        if potential[-1] == 0.0:
            raise ValueError(distinct_sentence(len(chosen), num_clusters))
        draws = np.searchsorted(potential, generator.random(trials) * potential[-1], side="right")
        draws = np.minimum(draws, len(points) - 1)  # where rounding has put the product at the end
        candidates = np.minimum(nearest, squared_distances(points[draws]))  # [trials, points]
        best = np.argmin(candidates @ weights)
        chosen, nearest = np.append(chosen, draws[best]), candidates[best]
    return points[chosen]


class SquaredDistances:
    """||x - c||^2 = ||x - m||^2 - 2 (x - m)^T (c - m) + ||c - m||^2 from `points` [N, features], about their mean m.

    No centred copy of the points is made. What rounding leaves few digits of is taken from x - c itself, so that equal
    points, and no others, count as one.
    """

    def __init__(self, points):
        self.points = points
        self.mean = points.mean(axis=0, dtype=np.float64).astype(points.dtype)
        self.squares = np.concatenate([np.square(block - self.mean).sum(axis=1) for block in blocks(points)])
        radius = np.sqrt(self.squares.max())
        self.uncertain = 64 * np.finfo(points.dtype).eps * radius * (radius + np.linalg.norm(self.mean))

    def __call__(self, centroids):
        """[number of centroids, N], in the precision of the points."""
        offsets = centroids - self.mean
        inner = (offsets @ self.points.T) - (offsets @ self.mean)[:, None]
        squared = self.squares - 2.0 * inner + np.square(offsets).sum(axis=1)[:, None]
        for row, centroid in zip(squared, centroids, strict=True):
            near = np.flatnonzero(row <= self.uncertain)
            for start in range(0, len(near), BLOCK_ROWS):
                part = near[start : start + BLOCK_ROWS]
                row[part] = np.square(self.points[part] - centroid).sum(axis=1)
        return squared


def k_means_parallel(x, num_clusters, generator):
    """k-means||: `ROUNDS` passes over `x` choose 2 k examples each, one more counts, k-means++ chooses among them."""
    chosen = uniform_sample(x, 1, generator, at_least=num_clusters)
    for _ in range(ROUNDS):
        chosen = np.concatenate([chosen, drawn_by_distance(x, chosen, 2 * num_clusters, generator)])
    weights = np.zeros(len(chosen))
    for block in blocks(x):
        weights += np.bincount(np.argmin(to_each(block, chosen), axis=1), minlength=len(chosen))
    return k_means_plus_plus(chosen, weights, num_clusters, generator)


def drawn_by_distance(x, chosen, size, generator):
    """`size` examples without replacement, with probabilities proportional to D^2: fewer where fewer have D > 0."""
    # The smallest of exponential variables divided by weights are such a draw (Efraimidis and Spirakis 2006).
    kept = Smallest(size)
    for block in blocks(x):
        nearest = to_each(block, chosen).min(axis=1)
        away = nearest > 0.0
        kept.add(generator.exponential(size=len(block))[away] / nearest[away], block[away])
    return kept.rows


def uniform_sample(x, size, generator, at_least):
    """`size` examples without replacement, each as likely, or all where there are fewer; not fewer than `at_least`."""
    kept, count = Smallest(size), 0
    for block in blocks(x):
        kept.add(generator.random(len(block)), block)
        count += len(block)
    check_count(count, at_least)
    return kept.rows


def farthest(x, centroids, size):
    """The `size` examples farthest from their nearest centroid, farthest first: (rows, labels)."""
    kept = Smallest(size)
    for block in blocks(x):
        squared = to_each(block, centroids)
        labels = np.argmin(squared, axis=1)
        nearest = squared[np.arange(len(block)), labels]
        kept.add(-nearest, np.column_stack([block, labels]))
    return kept.rows[:, :-1], kept.rows[:, -1].astype(int)


def to_each(block, centroids):
    """||x - c||^2 [rows, centroids], 0 where it is 0 to rounding."""
    mean = centroids.mean(axis=0, dtype=np.float64)
    block, centroids = block - mean, centroids - mean
    squares = np.square(block).sum(axis=1)[:, None] + np.square(centroids).sum(axis=1)
    squared = squares - 2.0 * (block @ centroids.T)
    return np.where(squared > 64 * np.finfo(np.float64).eps * squares, squared, 0.0)


class Smallest:
    """The rows with the `size` smallest keys among those added, smallest first."""

    def __init__(self, size):
        self.size, self.keys, self.rows = size, None, None

    def add(self, keys, rows):
        if self.keys is not None:
            if len(self.keys) == self.size:
                better = keys < self.keys[-1]
                keys, rows = keys[better], rows[better]
            keys, rows = np.concatenate([self.keys, keys]), np.concatenate([self.rows, rows])
        order = np.argsort(keys, kind="stable")[: self.size]
        self.keys, self.rows = keys[order], rows[order]


def check_count(count, num_clusters):
    if count < num_clusters:
        raise ValueError(f"The number of examples is {count}; num_clusters = {num_clusters} needs at least as many.")


def check_distinct(x, num_clusters):
    """Raise unless there are so many distinct examples; usually the first block has them."""
    distinct = set()
    for block in blocks(x):
        distinct.update(row.tobytes() for row in block)
        if len(distinct) >= num_clusters:
            return
    raise ValueError(distinct_sentence(len(distinct), num_clusters))


def distinct_sentence(distinct, num_clusters):
    return (
        f"The data hold {distinct} distinct examples only, fewer than num_clusters = {num_clusters}; ask for at most "
        f"{distinct}, or look for duplicated data."
    )
