#!/usr/bin/env node
import { enableCompileCache } from "node:module"

// half of the time until the first line is compiling
enableCompileCache()

// `#main` is the built program; with `--conditions=@rego/source`, inside the repository, its source
await import("#main")
