/**
 * The page on which policies are tried: its script is `client/playground.ts`.
 *
 * @internal
 */
import type { Page } from "./places.ts"

const text = `# Playground

What would this policy do? Choose a scenario, change the policy, and run it. Everything runs in this page: the calls go
through the library itself, under a clock that does not wait. Nothing is sent anywhere.

<div id="simulation">This page needs JavaScript.</div>
<script type="module" src="assets/playground.js"></script>
`

export const playgroundPage: Page = { url: "playground.html", file: "docs/playground.md", text }
