/** The page of all reasons and events, made from the annotations of their schemas. */
import { Timeline } from "@rego/core"
import type { Schema } from "effect"

interface Described {
  readonly name: string
  readonly means: string
  readonly todo: string
}

type Ast = Schema.Top["ast"]

const membersOf = (schema: { readonly ast: Ast }): ReadonlyArray<Ast> =>
  schema.ast._tag === "Union" ? schema.ast.types : []

const text = (ast: Ast, name: "description" | "documentation"): string => {
  const value = ast.annotations?.[name]
  if (typeof value !== "string" || value === "") throw new Error(`a reason or an event has no ${name}`)
  return value
}

/** The name of a literal, or of a struct: the literal that is its tag. */
const nameOf = (ast: Ast): string => {
  if (ast._tag === "Literal") return String(ast.literal)
  const tag = ast._tag === "Objects" ? ast.propertySignatures.find(({ name }) => name === "_tag") : undefined
  if (tag?.type._tag !== "Literal") throw new Error(`neither a name nor a tagged struct: ${ast._tag}`)
  return String(tag.type.literal)
}

const describe = (ast: Ast): Described => ({
  name: nameOf(ast),
  means: text(ast, "description"),
  todo: text(ast, "documentation")
})

const common = new Set<PropertyKey>(["_tag", "key", "call", "at"])

const fieldsOf = (ast: Ast): string =>
  ast._tag !== "Objects" ? "" : ast.propertySignatures
    .filter(({ name }) => !common.has(name))
    .map(({ name, type }) => `\`${String(name)}${type.context?.isOptional === true ? "?" : ""}\``)
    .join(" ")

const row = (...cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

const table = (rows: ReadonlyArray<Described>): string =>
  [
    row("name", "what it means", "what to do"),
    row("---", "---", "---"),
    ...rows.map(({ means, name, todo }) => row(`\`${name}\``, means, todo))
  ].join("\n")

const eventTable = (members: ReadonlyArray<Ast>): string =>
  [
    row("event", "when", "beside `key`, `call` and `at`", "what to do"),
    row("---", "---", "---", "---"),
    ...members.map((ast) => {
      const { means, name, todo } = describe(ast)
      return row(`\`${name}\``, means, fieldsOf(ast), todo)
    })
  ].join("\n")

export const reasonsPage = (): string =>
  `# Reasons and events

This page is made from the annotations of the schemas in \`@rego/core\` (\`npm run reasons\`); a test holds it against them.

All three lists are closed: a new name is a change of the API, and each name is safe as a metric label. The reason of an
attempt is none of them: it comes from a classifier, and is free text ([Classifier](classifier.md)).

## Why a call stopped

\`Timeline.StopReason\`, in \`Stopped\` and \`CallEnded\`, in the decisions of a [timeline](timeline.md), and as \`rego.reason\` on
the span of a call. A call that succeeded has none.

${table(membersOf(Timeline.StopReason).map(describe))}

## Why an extra attempt was refused

\`Timeline.DenialReason\`, in \`BudgetDenied\`, and in the decision \`Denied\` of a timeline. A [budget](budget.md) of your own may
say what it likes: the reason is \`other\` then, and its words are in \`detail\`.

${table(membersOf(Timeline.DenialReason).map(describe))}

## Events

\`Timeline.Event\`, told to [observers](observers.md). Times are milliseconds since the epoch, durations are milliseconds.

${eventTable(membersOf(Timeline.Event))}
`
