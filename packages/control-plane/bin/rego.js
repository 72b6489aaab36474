#!/usr/bin/env node
// `#main` is the built program; with `--conditions=@rego/source`, inside the repository, its source
import "#main"
