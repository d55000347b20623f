"""Examining a live system: what is wrong with it, and the commands that mend it.

`gathering` looks, through `consort_bus.health` and its neighbours; `channels`,
`governance`, `processes` and `runs` judge, each as pure functions of the gathered
`Facts`; `components` sums up. `folding` and `recorded` read histories, which
`upgrade` uses to say what a new version would break.
"""
