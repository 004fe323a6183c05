"""Take files that people or banks drop to the lake. `runner.run` takes them; `validation` and `delivery` apply the contract."""
