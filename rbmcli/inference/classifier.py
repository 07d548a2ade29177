"""How well a linear classifier tells classes apart by features."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rbmcli import _kernels
from rbmcli.arrays import Floats
from rbmcli.errors import RbmError

#: Inverse strengths of the L2 penalty to choose from, for standardised features.
INVERSE_PENALTIES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
#: One of so many of the training rows, the last ones, judge the choice.
_HELD_OUT = 6
_ITERATIONS = 200


class Classifier(NamedTuple):
    """Multinomial logistic regression on standardised features, fitted.

    predict: the classes of features (rows, units), which it overwrites. inverse_penalty: the C that
    was chosen. held_out_error: of those that did not fit it then.
    """

    predict: Callable[[Floats], NDArray[np.int64]]
    inverse_penalty: float
    held_out_error: float


def check_available() -> None:
    """RbmError where the package is missing that the classifier is of."""
    _regression()


def fit(
    features: Floats, labels: NDArray[np.int64], progress: Callable[[float], None] = lambda _: None
) -> Classifier:
    """Fit to features (rows, units), which are overwritten, and labels (rows,).

    Features are standardised: else the solver takes many times the iterations. Each penalty is
    tried on the rows but the last sixth, and judged by that; the best is fitted to all.

    progress: told the fraction done. RbmError where scikit-learn is missing, and where the rows
    that fit are fewer than two or all of one class.
    """
    regression, scaler = _regression()
    kept = len(labels) - len(labels) // _HELD_OUT
    if len(np.unique(labels[:kept])) < 2 or kept == len(labels):
        raise RbmError(
            f"a classifier needs images of two classes or more, and at least {_HELD_OUT} of them;"
            " name others with --classifier"
        )
    scale = scaler(copy=False).fit(features)
    features = scale.transform(features)
    trial = regression(max_iter=_ITERATIONS, warm_start=True)  # each from where the last ended
    errors = []
    for number, inverse in enumerate(INVERSE_PENALTIES):
        _fit(trial, inverse, features[:kept], labels[:kept])
        errors.append(error_of(trial.predict(features[kept:]), labels[kept:]))
        progress((number + 1) / (len(INVERSE_PENALTIES) + 1))
    best = int(np.argmin(errors))  # of equals the strongest penalty
    chosen = regression(max_iter=_ITERATIONS)
    _fit(chosen, INVERSE_PENALTIES[best], features, labels)
    progress(1.0)
    return Classifier(
        lambda x: chosen.predict(scale.transform(x)), INVERSE_PENALTIES[best], errors[best]
    )


def error_of(found: NDArray[np.int64], labels: NDArray[np.int64]) -> float:
    """The fraction that was told wrong."""
    return float((found != labels).mean())


def _regression() -> tuple[Any, Any]:
    """scikit-learn's classes of the regression and of what standardises."""
    try:
        import threadpoolctl  # noqa: F401 - only to see that it is there
        from sklearn.linear_model import LogisticRegression
        from sklearn.preprocessing import StandardScaler
    except ImportError as error:
        raise RbmError(
            "a classifier needs scikit-learn: `pip install scikit-learn`, or leave out --classifier"
        ) from error
    return LogisticRegression, StandardScaler


def _fit(model: Any, inverse: float, features: Floats, labels: NDArray[np.int64]) -> None:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(_kernels.threads()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it might go on: the iterations are bounded
        model.set_params(C=inverse).fit(features, labels)
