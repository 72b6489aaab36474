/** `google.rpc.Status` and two of its details, written with a real protobuf library: what servers send. */
import type { Message } from "@bufbuild/protobuf"
import { create, toBinary } from "@bufbuild/protobuf"
import type { GenMessage } from "@bufbuild/protobuf/codegenv2"
import { fileDesc, messageDesc } from "@bufbuild/protobuf/codegenv2"
import type { Any, Duration } from "@bufbuild/protobuf/wkt"
import {
  anyPack,
  FieldDescriptorProto_Label as Label,
  FieldDescriptorProto_Type as Type,
  file_google_protobuf_any,
  file_google_protobuf_duration,
  FileDescriptorProtoSchema
} from "@bufbuild/protobuf/wkt"

const descriptor = create(FileDescriptorProtoSchema, {
  name: "google/rpc/status.proto",
  package: "google.rpc",
  syntax: "proto3",
  dependency: ["google/protobuf/any.proto", "google/protobuf/duration.proto"],
  messageType: [
    {
      name: "Status",
      field: [
        { name: "code", number: 1, label: Label.OPTIONAL, type: Type.INT32 },
        { name: "message", number: 2, label: Label.OPTIONAL, type: Type.STRING },
        { name: "details", number: 3, label: Label.REPEATED, type: Type.MESSAGE, typeName: ".google.protobuf.Any" }
      ]
    },
    {
      name: "RetryInfo",
      field: [{
        name: "retry_delay",
        number: 1,
        label: Label.OPTIONAL,
        type: Type.MESSAGE,
        typeName: ".google.protobuf.Duration"
      }]
    },
    {
      name: "DebugInfo",
      field: [
        { name: "stack_entries", number: 1, label: Label.REPEATED, type: Type.STRING },
        { name: "detail", number: 2, label: Label.OPTIONAL, type: Type.STRING }
      ]
    }
  ]
})

const file = fileDesc(Buffer.from(toBinary(FileDescriptorProtoSchema, descriptor)).toString("base64"), [
  file_google_protobuf_any,
  file_google_protobuf_duration
])

type Status = Message<"google.rpc.Status"> & { code: number; message: string; details: Array<Any> }
const StatusSchema: GenMessage<Status> = messageDesc(file, 0)

type RetryInfo = Message<"google.rpc.RetryInfo"> & { retryDelay?: Duration | undefined }
const RetryInfoSchema: GenMessage<RetryInfo> = messageDesc(file, 1)

type DebugInfo = Message<"google.rpc.DebugInfo"> & { stackEntries: Array<string>; detail: string }
const DebugInfoSchema: GenMessage<DebugInfo> = messageDesc(file, 2)

export const retryInfo = (seconds: number | bigint, nanos = 0): Any =>
  anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: { seconds: BigInt(seconds), nanos } }))

export const emptyRetryInfo: Any = anyPack(RetryInfoSchema, create(RetryInfoSchema))

export const debugInfo = (detail: string): Any =>
  anyPack(DebugInfoSchema, create(DebugInfoSchema, { stackEntries: ["at a", "at b"], detail }))

/** The bytes of `grpc-status-details-bin`. */
export const statusBytes = (...details: ReadonlyArray<Any>): Uint8Array =>
  toBinary(StatusSchema, create(StatusSchema, { code: 14, message: "busy", details: [...details] }))
