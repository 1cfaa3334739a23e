"""The compiler that tests share says of a folder what ``tsc`` says of it, also when the folder has changed."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.typescript import Compiler

OPTIONS = {"strict": True, "lib": ["es5"], "target": "es2022", "module": "nodenext", "types": []}


async def test_faults_of_the_folder_are_found_and_those_of_others_are_not(tmp_path: Path, tsc: Compiler) -> None:
    """Tests of types would pass, whatever the types are; or look through all packages that there are."""
    theirs, folder = tmp_path / "theirs", tmp_path / "folder"
    for each in (theirs, folder / "node_modules"):
        each.mkdir(parents=True)
    (theirs / "package.json").write_text('{"type": "module", "types": "index.d.ts"}')
    (theirs / "index.d.ts").write_text("export declare const theirs: Missing; export declare const text: string;")
    (folder / "node_modules" / "theirs").symlink_to(theirs)
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "ours.d.ts").write_text("export declare const ours: Missing;")
    (folder / "program.ts").write_text(
        'import { text } from "theirs";\nimport { ours } from "./ours.js";\n'
        "const a: number = text;\nconsole.log(a, ours);"
    )
    settings = {"compilerOptions": OPTIONS, "files": ["program.ts"]}
    (folder / "tsconfig.json").write_text(json.dumps(settings))
    assert await tsc.compile(folder) == [
        "ours.d.ts(1,28): error TS2304: Cannot find name 'Missing'.",
        "program.ts(3,7): error TS2322: Type 'string' is not assignable to type 'number'.",
        "program.ts(4,1): error TS2584: Cannot find name 'console'. Do you need to change your target library?"
        " Try changing the 'lib' compiler option to include 'dom'.",
    ]
    assert (folder / "program.js").exists(), "written as tsc does, whatever there is to complain of"

    (folder / "ours.d.ts").write_text("export declare const ours: string;")
    (folder / "program.ts").write_text('import { ours } from "./ours.js";\nexport const a: string = ours;')
    (folder / "program.js").unlink()
    settings["compilerOptions"] = {**OPTIONS, "noEmit": True}
    (folder / "tsconfig.json").write_text(json.dumps(settings))
    assert await tsc.compile(folder) == []
    assert not (folder / "program.js").exists()


async def test_a_file_that_is_missing_is_said(tmp_path: Path, tsc: Compiler) -> None:
    """A test that compiles nothing would pass."""
    (tmp_path / "tsconfig.json").write_text(json.dumps({"compilerOptions": OPTIONS, "files": ["program.ts"]}))
    (complaint, *_) = await tsc.compile(tmp_path)
    assert "program.ts' not found" in complaint
