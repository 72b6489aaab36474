/** What `npm audit --json` says, among what npm writes besides. */

export interface Audit {
  /** `undefined` when the registry does not answer the question */
  readonly found: ReadonlyArray<string> | undefined
  /** of a registry that does not answer */
  readonly status: string
}

/** Standard output and error come as one text: npm names its log file behind its answer. */
const answerIn = (output: string): { readonly vulnerabilities?: Record<string, { readonly severity: string }> } => {
  const text = output.slice(output.indexOf("{"), output.lastIndexOf("}") + 1)
  return text === "" ? {} : JSON.parse(text)
}

export const readAudit = (output: string): Audit => {
  const { vulnerabilities } = answerIn(output)
  return {
    found: vulnerabilities && Object.entries(vulnerabilities).map(([name, { severity }]) => `${name}: ${severity}`),
    status: (/\b[45]\d\d [A-Z][a-zA-Z ]+/.exec(output)?.[0] ?? "no answer").trim()
  }
}
