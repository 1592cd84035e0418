"""The nouns: Device, Workload, Settings, Cost, Estimate, Plan, Record; units and errors. No I/O, no heavy import."""
