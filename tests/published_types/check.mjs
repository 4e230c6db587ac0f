// Compares JSON documents with the response types of a version of @elastic/elasticsearch.
//
// Usage: node check.mjs PACKAGE, with [[type names, document], ...] on the standard input. Compares
// each document with the first of the types that the package has. Prints for each the list of its
// faults, which are of the kinds "missing" and "wrong", or null if the package has no such type.
// Fields that the type does not have are no faults.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const INTEGERS = new Set(["byte", "integer", "long", "short", "uint", "ulong"]);

const file = fileURLToPath(
  new URL(`node_modules/${process.argv[2]}/lib/api/types.d.ts`, import.meta.url),
);
const program = ts.createProgram([file], {
  lib: ["lib.es2018.d.ts"],
  noResolve: true,
  strict: true,
});
const checker = program.getTypeChecker();
const declared = new Map(
  checker
    .getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(file)))
    .map((symbol) => [symbol.name, symbol]),
);

const fault = (kind, path, type) => [{ kind, path, expected: checker.typeToString(type) }];

function faultsOf(value, type, path) {
  if (type.isUnion()) {
    const found = type.types.map((member) => faultsOf(value, member, path));
    // Types of another kind, such as a number instead of an object, explain nothing.
    const similar = found.filter((faults) => !faults.some((each) => each.path === path));
    if (similar.length === 0) return fault("wrong", path, type);
    return similar.reduce((best, each) => (each.length < best.length ? each : best));
  }
  if (type.flags & (ts.TypeFlags.Any | ts.TypeFlags.Unknown)) return [];
  // No document contains undefined: with it, a type says that a field is optional.
  if (type.flags & ts.TypeFlags.Undefined) return fault("wrong", path, type);
  if (type.flags & ts.TypeFlags.Null) return value === null ? [] : fault("wrong", path, type);
  if (type.isLiteral()) return value === type.value ? [] : fault("wrong", path, type);
  if (type.flags & ts.TypeFlags.BooleanLiteral)
    return String(value) === checker.typeToString(type) ? [] : fault("wrong", path, type);
  for (const [flag, name] of [
    [ts.TypeFlags.String, "string"],
    [ts.TypeFlags.Number, "number"],
  ])
    if (type.flags & flag) return typeof value === name ? [] : fault("wrong", path, type);
  if (value === null || typeof value !== "object") return fault("wrong", path, type);
  if (checker.isArrayType(type)) {
    if (!Array.isArray(value)) return fault("wrong", path, type);
    const [element] = checker.getTypeArguments(type);
    return value.flatMap((item) => faultsOf(item, element, `${path}[]`));
  }
  return Array.isArray(value) ? fault("wrong", path, type) : faultsOfObject(value, type, path);
}

function faultsOfObject(value, type, path) {
  const properties = checker.getPropertiesOfType(type);
  const names = new Set(properties.map((property) => property.name));
  const others = checker.getIndexInfoOfType(type, ts.IndexKind.String);
  return [
    ...properties.flatMap((property) => faultsOfProperty(value, property, `${path}.${property.name}`)),
    ...Object.keys(value)
      .filter((name) => !names.has(name))
      .flatMap((name) => (others ? faultsOf(value[name], others.type, `${path}.*`) : [])),
  ];
}

function faultsOfProperty(value, property, path) {
  const type = checker.getTypeOfSymbol(property);
  if (!(property.name in value))
    return property.flags & ts.SymbolFlags.Optional ? [] : fault("missing", path, type);
  const found = value[property.name];
  const alias = property.valueDeclaration?.type?.getText();
  if (INTEGERS.has(alias) && !Number.isInteger(found)) return fault("wrong", path, type);
  return faultsOf(found, type, path);
}

const documents = JSON.parse(readFileSync(0, "utf8"));
const faults = documents.map(([names, document]) => {
  const symbol = names.map((name) => declared.get(name)).find(Boolean);
  return symbol ? faultsOf(document, checker.getDeclaredTypeOfSymbol(symbol), "") : null;
});
process.stdout.write(JSON.stringify(faults));
