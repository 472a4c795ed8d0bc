"""scikit-learn: models that are trained predict the same, and a clone trains with threads and OpenMP."""
# zoo: full

from harness import family
from sklearn.datasets import make_classification
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

inputs, labels = make_classification(500, random_state=0)
forest = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(inputs, labels)


def work(vmid: int) -> list[list[int]]:
    boosted = HistGradientBoostingClassifier(max_iter=10, random_state=0).fit(inputs, labels)
    other = RandomForestClassifier(20, n_jobs=2, random_state=0).fit(inputs, labels)
    return [model.predict(inputs).tolist() for model in (forest, boosted, other)]


master, clones = family(work)
assert clones == [master] * 3
