#!/usr/bin/env node
import * as module from "node:module"

// half of the time until the first line is compiling; Deno has no such cache
module.enableCompileCache?.()

// `#main` is the built program; with `--conditions=@rego/source`, inside the repository, its source
await import("#main")
