/**
 * `rego schema`: the JSON Schema of documents.
 *
 * @internal
 */
import * as PolicyDocument from "@rego/core/PolicyDocument"
import { Command } from "effect/cli"
import * as Text from "./CommandText.ts"

export const schema = Command.make("schema", {}, () => Text.print(Text.json(PolicyDocument.jsonSchema()))).pipe(
  Command.withDescription(
    "Print the JSON Schema of policy documents, for editors. It is also a file: @rego/core/policy-document.schema.json"
  ),
  Command.withShortDescription("Print the JSON Schema of policy documents")
)
