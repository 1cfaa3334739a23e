// The TypeScript compiler for tests/support/typescript.py: it is started once, and reads the declarations of the
// browser, of Node and of packages once.
//
// One JSON value per line, both ways.
//   in:   "/folder"          with a tsconfig.json: what `tsc` does there, run in that folder
//   out:  "event.ts(1,2): …" what it prints of the files in that folder; "" when there is nothing to complain of
// Files outside of it, also by way of a link, are others': they are read, and not checked.

import { realpathSync } from "node:fs";
import { join, sep } from "node:path";
import { createInterface } from "node:readline";
import ts from "typescript";

const read = new Map(); // what is outside of the folders, which nobody changes meanwhile

function compile(folder) {
  const { options, fileNames, errors } = ts.getParsedCommandLineOfConfigFile(join(folder, "tsconfig.json"), {}, ts.sys);
  const isHere = (name) => name.startsWith(folder + sep);
  const host = ts.createCompilerHost(options);
  host.getCurrentDirectory = () => folder;
  const { configFilePath, types, ...others } = options;
  const { getSourceFile } = host;
  host.getSourceFile = (name, how, ...rest) => {
    if (isHere(name)) return getSourceFile(name, how, ...rest);
    const key = JSON.stringify([name, how, others]);
    if (!read.has(key)) read.set(key, getSourceFile(name, how, ...rest));
    return read.get(key);
  };
  const program = ts.createProgram({ rootNames: fileNames, options, host, configFileParsingDiagnostics: errors });
  const found = [...errors, ...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
  for (const file of program.getSourceFiles().filter(({ fileName }) => isHere(fileName))) {
    found.push(...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file));
    if (!options.noEmit) found.push(...program.emit(file).diagnostics);
  }
  return ts.formatDiagnostics(ts.sortAndDeduplicateDiagnostics(found), host);
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(JSON.stringify(compile(realpathSync(JSON.parse(line)))) + "\n");
}
