/**
 * The service of the tests, `acme.users.v1.Users`, as `protoc-gen-es` would have generated it from a `.proto` file; its
 * descriptor is written by hand, so that no compiler has to be downloaded.
 */
import type { Message } from "@bufbuild/protobuf"
import { create, fromBinary, toBinary } from "@bufbuild/protobuf"
import type { GenMessage, GenService } from "@bufbuild/protobuf/codegenv2"
import { fileDesc, messageDesc, serviceDesc } from "@bufbuild/protobuf/codegenv2"
import {
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  MethodOptions_IdempotencyLevel as Level
} from "@bufbuild/protobuf/wkt"
import type {
  CallOptions,
  Client,
  ClientDuplexStream,
  ClientReadableStream,
  ClientUnaryCall,
  ClientWritableStream,
  Metadata,
  MethodDefinition,
  requestCallback,
  ServiceDefinition
} from "@grpc/grpc-js"
import { makeGenericClientConstructor } from "@grpc/grpc-js"

const text = (name: string, number: number) => ({ name, number, label: Label.OPTIONAL, type: Type.STRING })

const method = (name: string, options: {
  readonly clientStreaming?: boolean
  readonly serverStreaming?: boolean
  readonly level?: Level
} = {}) => ({
  name,
  inputType: ".acme.users.v1.Ask",
  outputType: ".acme.users.v1.Answer",
  clientStreaming: options.clientStreaming ?? false,
  serverStreaming: options.serverStreaming ?? false,
  options: { idempotencyLevel: options.level ?? Level.IDEMPOTENCY_UNKNOWN }
})

const descriptor = create(FileDescriptorProtoSchema, {
  name: "acme/users/v1/users.proto",
  package: "acme.users.v1",
  syntax: "proto3",
  messageType: [
    { name: "Ask", field: [text("id", 1)] },
    { name: "Answer", field: [text("name", 1)] }
  ],
  service: [{
    name: "Users",
    method: [
      method("Get"),
      method("Find", { level: Level.NO_SIDE_EFFECTS }),
      method("Put", { level: Level.IDEMPOTENT }),
      method("Watch", { serverStreaming: true }),
      method("Import", { clientStreaming: true }),
      method("Chat", { clientStreaming: true, serverStreaming: true })
    ]
  }]
})

const file = fileDesc(Buffer.from(toBinary(FileDescriptorProtoSchema, descriptor)).toString("base64"))

export type Ask = Message<"acme.users.v1.Ask"> & { id: string }
const AskSchema: GenMessage<Ask> = messageDesc(file, 0)

export type Answer = Message<"acme.users.v1.Answer"> & { name: string }
export const AnswerSchema: GenMessage<Answer> = messageDesc(file, 1)

interface Shape<Kind extends "unary" | "server_streaming" | "client_streaming" | "bidi_streaming"> {
  methodKind: Kind
  input: typeof AskSchema
  output: typeof AnswerSchema
}

export const Users: GenService<{
  get: Shape<"unary">
  find: Shape<"unary">
  put: Shape<"unary">
  watch: Shape<"server_streaming">
  import: Shape<"client_streaming">
  chat: Shape<"bidi_streaming">
}> = serviceDesc(file, 0)

// -----------------------------------------------------------------------------
// the same for grpc-js
// -----------------------------------------------------------------------------

const definition = (name: string, requestStream = false, responseStream = false): MethodDefinition<Ask, Answer> => ({
  path: `/acme.users.v1.Users/${name}`,
  requestStream,
  responseStream,
  requestSerialize: (message) => Buffer.from(toBinary(AskSchema, create(AskSchema, message))),
  requestDeserialize: (bytes) => fromBinary(AskSchema, bytes),
  responseSerialize: (message) => Buffer.from(toBinary(AnswerSchema, create(AnswerSchema, message))),
  responseDeserialize: (bytes) => fromBinary(AnswerSchema, bytes)
})

export const definitions = {
  get: definition("Get"),
  find: definition("Find"),
  put: definition("Put"),
  watch: definition("Watch", false, true),
  import: definition("Import", true, false),
  chat: definition("Chat", true, true)
} satisfies ServiceDefinition

/** The forms of a unary method, as generators declare them. */
interface UnaryMethod {
  (ask: Partial<Ask>, callback: requestCallback<Answer>): ClientUnaryCall
  (ask: Partial<Ask>, metadata: Metadata, options: CallOptions, callback: requestCallback<Answer>): ClientUnaryCall
}

export interface UsersClient extends Client {
  readonly get: UnaryMethod
  readonly find: UnaryMethod
  readonly put: UnaryMethod
  readonly watch: (ask: Partial<Ask>, metadata?: Metadata, options?: CallOptions) => ClientReadableStream<Answer>
  readonly import: (
    metadata: Metadata,
    options: CallOptions,
    callback: requestCallback<Answer>
  ) => ClientWritableStream<Partial<Ask>>
  readonly chat: (metadata?: Metadata, options?: CallOptions) => ClientDuplexStream<Partial<Ask>, Answer>
}

export const UsersClient = makeGenericClientConstructor(definitions, "Users") as unknown as {
  new(...args: ConstructorParameters<typeof Client>): UsersClient
}
