"""An Optuna sampler that looks for the edge of a region instead of for an optimum.

It maps the set of points where a yes-or-no experiment ("did the network train?") succeeds with probability at least one
half. A Gaussian-process classifier (`analysis.gp`) reads all outcomes so far, and each trial is placed where the
classifier is least sure of the side: the *straddle* of Bryan et al. (2005), the largest 1.96 sd - |mean| of the latent
log-odds. Unlike an optimiser's trials, those trials make a map; several times fewer of them do.

    study = optuna.create_study(direction="maximize", sampler=BoundarySampler(seed=0, depth="depth"))
    trial = study.ask(distributions)
    trial.set_user_attr("n_trained", 1)
    trial.set_user_attr("n_replicates", 2)
    study.tell(trial, score)  # finite; > 0 iff trained, and all that is read if there are no counts

Three rules come before it, for what the classifier is sure of and should not be (see `sweeps.boundary.placing`): an
outcome that it had all but excluded is asked again next to it, a scheme of which nothing shallow was tried is tried
there once, and from the 128th trial on a few trials go beyond the frontier, where no other is near.

Pending points lower the variance and leave the mean; how much they lower it is how much their outcome will tell (see
`placing.noise`), which is little more than a sign where little is known.

What was tried and not kept is listed in `tests/bench/boundary.py`, which has the measurements of what was.

What it loses: a small island far beyond the frontier is found by chance alone, by the start, the audit trials and those
few. Once it is found, the trials that follow map it.

References: Bryan et al., Active learning for identifying function threshold boundaries, NeurIPS 2005 (straddle);
Gotovos et al., Active learning for level set estimation, IJCAI 2013; Desautels et al., Parallelizing
exploration-exploitation tradeoffs in GP bandit optimization, JMLR 2014 (batches: pending points lower the variance and
leave the mean); Lyu, Binois, Ludkovski, Evaluating Gaussian process metamodels and sequential designs for noisy level
set estimation, Statistics and Computing 2021; Letham et al., Look-ahead acquisition functions for Bernoulli level set
estimation, AISTATS 2022.
"""

from sweeps.boundary.sampler import ROLE, START, BoundarySampler

__all__ = ["ROLE", "START", "BoundarySampler"]
