"""Where rows come from: files in every layout, folders, installed packages, the hub."""
