#include "config/document.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

namespace tidegate::config {
namespace {

// A folder of its own, gone with the test.
class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "tidegate-config-XXXXXX").string();
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string write(const std::string& name, const std::string& text) const {
    const auto file = path_ / name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file.string();
  }
  std::string at(const std::string& name) const { return (path_ / name).string(); }

 private:
  std::filesystem::path path_;
};

std::vector<std::string> errors_of(const std::string& yaml) {
  return parse_document(yaml, "t.yaml").diagnostics.errors();
}

std::string json_of(const std::string& yaml) {
  const Document document = parse_document(yaml, "t.yaml");
  CHECK(document.diagnostics.errors() == std::vector<std::string>{});
  return to_json(document.root);
}

}  // namespace

TEST_CASE("scalars are typed by the YAML 1.2 core rules, quoted ones are strings") {
  CHECK(json_of("a: no\nb: on\nc: yes\nd: off") == R"({"a":"no","b":"on","c":"yes","d":"off"})");
  CHECK(json_of("a: true\nb: False\nc: null\nd: ~\ne:") ==
        R"({"a":true,"b":false,"c":null,"d":null,"e":null})");
  CHECK(json_of("a: 12\nb: 0x10\nc: 1.5\nd: 1e2\ne: -3") == R"({"a":12,"b":16,"c":1.5,"d":100.0,"e":-3})");
  CHECK(json_of("a: '12'\nb: \"true\"\nc: ''\nd: !!str 5") == R"({"a":"12","b":"true","c":"","d":"5"})");
  CHECK(json_of("a: .inf\nb: 1_000\nc: 12:30:45\nd: 18446744073709551615") ==
        R"({"a":".inf","b":"1_000","c":"12:30:45","d":18446744073709551615})");
}

TEST_CASE("every key and value keeps its place") {
  const Document document = parse_document("a:\n  - x\n  - b: y\n", "dir/t.yaml");
  CHECK(document.root.entries()[0].key_mark.to_string() == "dir/t.yaml:1:1");
  CHECK(document.root.at_pointer("/a/0")->mark().to_string() == "dir/t.yaml:2:5");
  CHECK(document.root.at_pointer("/a/1/b")->mark().to_string() == "dir/t.yaml:3:8");
  CHECK(document.root.at_pointer("/a/2") == nullptr);
  CHECK(document.root.at_pointer("/a/x/y") == nullptr);
}

TEST_CASE("an empty file is an empty map, aliases are copies, JSON is YAML") {
  CHECK(json_of("") == "{}");
  CHECK(json_of("# only a comment\n") == "{}");
  CHECK(json_of("a: &x [1]\nb: *x") == R"({"a":[1],"b":[1]})");
  CHECK(json_of("{\"a\":\t[1, \"b\\n\"]}") == R"({"a":[1,"b\n"]})");
}

TEST_CASE("what cannot be read is one error with its place") {
  struct Case {
    std::string yaml, error;
  };
  const std::vector<Case> cases{
      {"a: 1\nb: 2\na: 3\n", "t.yaml:3:1: the key 'a' stands twice, first on line 1; remove one"},
      {"a:\n  b: 1\n  \"b\": 2\n", "t.yaml:3:3: the key 'b' stands twice, first on line 2; remove one"},
      {"a:\n\tb: 1\n", "t.yaml:2:1: a tab in the indentation; YAML wants spaces"},
      {"- a\n", "t.yaml:1:1: expected sections such as 'server:' at the top, found a list"},
      {"word\n", "t.yaml:1:1: expected sections such as 'server:' at the top, found the string 'word'"},
      {"a: 1\n---\nb: 2\n", "t.yaml:3:1: a second YAML document (after '---'); keep one a file"},
      {"a: \"x\nb: y\n", "t.yaml:1:4: the quote opened here is never closed"},
      {"a: !!str 'it''s\n", "t.yaml:1:4: the quote opened here is never closed"},
      {"a: \"x", "t.yaml:1:6: a quote is opened and never closed"},
      {"a: {b: ${C}}", "t.yaml:1:9: a '{' is not closed, or a text holding '{', '[' or ',' lacks its quotes"},
      {"a: [1\nb: 2\n",
       "t.yaml:2:2: a '[' is not closed, or a text holding '{', '[' or ',' lacks its quotes"},
      {"a:\n  b: 1\n c: 2\n", "t.yaml:3:2: expected another key of the section above; check the indentation"},
      {"a: b: c\n", "t.yaml:1:5: a ': ' inside a value; put the value into quotes"},
      {"a: @b\n", "t.yaml:1:4: a character that cannot begin a value; put the value into quotes"},
      {"a: *b\n", "t.yaml:1:4: the YAML cannot be read: the referenced anchor is not defined"},
      {"a: &x [*x]\n", "t.yaml:1:8: this alias stands inside what it refers to"},
      {"a: !foo b\n", "t.yaml:1:4: the tag '!foo' does not fit here; leave it out"},
      {"b: &b {}\na: {<<: *b}\n", "t.yaml:2:5: merge keys (<<) are not supported; write the members out"},
      {"? [a]\n: b\n", "t.yaml:1:3: expected a word as key, found a list"},
      {"~: b\n", "t.yaml:1:1: expected a word as key, found nothing"},
      {"a: \xff\n", "t.yaml:1:4: expected UTF-8 text, found another byte; save the file as UTF-8"},
      {std::string("a: \0b\n", 6),
       "t.yaml:1:4: expected UTF-8 text, found another byte; save the file as UTF-8"},
      {"a: " + std::string(1000, '[') + std::string(1000, ']'),
       "t.yaml:1:67: nested more than 64 deep; flatten it"},
  };
  for (const auto& [yaml, error] : cases) {
    CAPTURE(yaml);
    const auto errors = errors_of(yaml);
    REQUIRE_FALSE(errors.empty());
    CHECK(errors[0] == error);
  }
}

TEST_CASE("aliases cannot multiply without end") {
  std::string bomb = "x0: &x0 [1, 2, 3, 4, 5, 6, 7, 8, 9]\n";
  for (int i = 1; i < 12; ++i) {
    const std::string one = "*x" + std::to_string(i - 1);
    bomb += "x" + std::to_string(i) + ": &x" + std::to_string(i) + " [" + one;
    for (int k = 0; k < 8; ++k) bomb += ", " + one;
    bomb += "]\n";
  }
  const auto errors = errors_of(bomb);
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].ends_with(
      "more than 200000 values, aliases counted in full; split the file or use fewer aliases"));
}

TEST_CASE("nesting through aliases counts as nesting") {
  const std::string deep = "a: &a " + std::string(40, '[') + std::string(40, ']') + "\n";
  CHECK(errors_of(deep).empty());
  const auto errors = errors_of(deep + "b: " + std::string(40, '[') + "*a" + std::string(40, ']') + "\n");
  REQUIRE(errors.size() == 1);
  CHECK(errors[0] == "t.yaml:2:44: nested more than 64 deep; flatten it");
}

TEST_CASE("references to the environment") {
  setenv("TIDEGATE_TEST_PORT", "8000", 1);
  setenv("TIDEGATE_TEST_EMPTY", "", 1);
  unsetenv("TIDEGATE_TEST_UNSET");

  SUBCASE("are filled in before typing, also in the middle of a text") {
    CHECK(json_of("a: ${TIDEGATE_TEST_PORT}\nb: \"${TIDEGATE_TEST_PORT}\"\nc: x-${TIDEGATE_TEST_PORT}-y") ==
          R"({"a":8000,"b":"8000","c":"x-8000-y"})");
  }
  SUBCASE("take a default when unset or empty") {
    CHECK(
        json_of("a: ${TIDEGATE_TEST_UNSET:-5}\nb: ${TIDEGATE_TEST_EMPTY:-x}\nc: ${TIDEGATE_TEST_UNSET:-}") ==
        R"({"a":5,"b":"x","c":""})");
  }
  SUBCASE("can be escaped, and bring no structure in") {
    setenv("TIDEGATE_TEST_YAML", "{a: [1]} ${TIDEGATE_TEST_PORT}", 1);
    CHECK(json_of("a: $${HOME}\nb: ${TIDEGATE_TEST_YAML}\nc: $x") ==
          R"({"a":"${HOME}","b":"{a: [1]} ${TIDEGATE_TEST_PORT}","c":"$x"})");
  }
  SUBCASE("are shown as they are written") {
    const Document document = parse_document("a: ${TIDEGATE_TEST_PORT}", "t.yaml");
    CHECK(document.root["a"].text() == "8000");
    CHECK(document.root["a"].shown() == "${TIDEGATE_TEST_PORT}");
    CHECK(describe(document.root["a"]) == "the value of '${TIDEGATE_TEST_PORT}'");
  }
  SUBCASE("that cannot be filled in are errors") {
    CHECK(errors_of("a:\n  - b: ${TIDEGATE_TEST_UNSET}") ==
          std::vector<std::string>{
              "t.yaml:2:8: a[0].b: the environment variable TIDEGATE_TEST_UNSET is not set; set it, "
              "or give a default: ${TIDEGATE_TEST_UNSET:-value}"});
    CHECK(errors_of("a: ${no good}") ==
          std::vector<std::string>{
              "t.yaml:1:4: a: expected ${NAME} or ${NAME:-default} with a NAME of letters, digits "
              "and '_'; write '$${' for the two characters themselves"});
    CHECK(errors_of("a: ${HOME") ==
          std::vector<std::string>{"t.yaml:1:4: a: a '${' without its '}'; close it, or write '$${' for the "
                                   "two characters themselves"});
  }
}

TEST_CASE(
    "conf.d is merged in name order: maps merge, lists append, later scalars win, later routes come first") {
  const Folder folder;
  const auto main = folder.write("t.yaml", "a: {x: 1, y: 1}\nl: [1]\nroutes: [main]\nn:\nr: {routes: [1]}\n");
  folder.write("conf.d/20.yaml", "a: {y: 3}\nl: [3]\nroutes: [twenty, twenty2]\nr: {routes: [2]}\n");
  folder.write("conf.d/10.yaml", "a: {y: 2, z: 2}\nl: [2]\nroutes: [ten]\nn: {m: 1}\nx: 1\na2:\n");
  folder.write("conf.d/.hidden.yaml", "a: {y: 9}\n");
  folder.write("conf.d/README", "not yaml: [");
  const Document document = load_document(main);
  CHECK(document.diagnostics.errors() == std::vector<std::string>{});
  CHECK(to_json(document.root) ==
        R"({"a":{"x":1,"y":3,"z":2},"l":[1,2,3],"routes":["twenty","twenty2","ten","main"],"n":{"m":1},)"
        R"("r":{"routes":[1,2]},"x":1,"a2":null})");
}

TEST_CASE("conf.d: what does not fit together names both places; *.yml is pointed out") {
  const Folder folder;
  const auto main = folder.write("t.yaml", "a: {x: 1}\n");
  const auto extra = folder.write("conf.d/1.yaml", "a: [1]\n");
  const auto other = folder.write("conf.d/2.yml", "a: {x: 2}\n");
  const Document document = load_document(main);
  CHECK(document.diagnostics.errors() ==
        std::vector<std::string>{extra + ":1:4: a: expected a map as at " + main + ":1:4, found a list"});
  CHECK(document.diagnostics.warnings() ==
        std::vector<std::string>{other + ": not read: only *.yaml is; rename it"});
}

TEST_CASE("what conf.d overrides need not be set in the environment") {
  unsetenv("TIDEGATE_TEST_UNSET");
  const Folder folder;
  const auto main = folder.write("t.yaml", "a: ${TIDEGATE_TEST_UNSET}\n");
  folder.write("conf.d/1.yaml", "a: 1\n");
  CHECK(load_document(main).diagnostics.ok());
}

TEST_CASE("a file that cannot be read is an error with the reason") {
  CHECK(load_document("/nonexistent/t.yaml").diagnostics.errors() ==
        std::vector<std::string>{"/nonexistent/t.yaml: cannot be read: No such file or directory; check the "
                                 "path and its permissions"});
  const Folder folder;
  const auto large = folder.write("t.yaml", std::string((16u << 20) + 1, '#'));
  CHECK(load_document(large).diagnostics.errors() ==
        std::vector<std::string>{
            large + ": cannot be read: larger than 16384 KiB; check the path and its permissions"});
}

TEST_CASE("a secret is a text, or what a file holds without its line end") {
  const Folder folder;
  CHECK(resolve_secret("plain").value == "plain");
  CHECK(resolve_secret("file:" + folder.write("a", "s3cret\n")).value == "s3cret");
  CHECK(resolve_secret("file:" + folder.write("b", "s3cret\r\n")).value == "s3cret");
  CHECK(resolve_secret("file:a").error ==
        "expected an absolute path after 'file:', such as file:/etc/tidegate/token");
  CHECK(resolve_secret("file:" + folder.write("c", "\n")).error ==
        "the secret file " + folder.at("c") + " is empty; put the secret into it");
  CHECK(resolve_secret("file:" + folder.at("none")).error ==
        "the secret file " + folder.at("none") +
            " cannot be read: No such file or directory; check path and permissions");
}

}  // namespace tidegate::config
