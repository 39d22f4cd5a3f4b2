# Prints what stands at one path of a JSON document: awk -v want=PATH -f json.awk FILE
#
# Why: the guest's metadata is JSON and the guest has nothing but busybox. A pattern match over the text would take
# a key inside some other value for the real one; this reads the document as the grammar has it.
#
# PATH is member names (or array positions from 0) with "/" between; "*" stands for any one. Strings are printed
# decoded, numbers and words as they are, one a line; null, objects and arrays print nothing.
# Ends with 0 if something was printed, 1 if there is nothing there, 2 if the document is not JSON (nothing printed).

BEGIN {
    # A byte that JSON does not allow, so that the whole document is one record.
    RS = "\001"
    MAX_DEPTH = 64
    escape["\""] = "\""; escape["\\"] = "\\"; escape["/"] = "/"
    escape["b"] = "\b"; escape["f"] = "\f"; escape["n"] = "\n"; escape["r"] = "\r"; escape["t"] = "\t"
    for (i = 0; i < 16; i++) {
        digit[substr("0123456789abcdef", i + 1, 1)] = i
        digit[substr("0123456789ABCDEF", i + 1, 1)] = i
    }
    steps = split(want, step, "/")
}

{ rest = rest $0 }

END {
    value(0, 1)
    blank()
    if (rest != "" || bad)
        exit 2
    if (found == 0)
        exit 1
    printf "%s", printed
}

function fail() { bad = 1; rest = "" }

function blank() { sub(/^[ \t\r\n]+/, "", rest) }

# Takes `token` off the front of the document if it stands there.
function take(token) {
    blank()
    if (substr(rest, 1, length(token)) != token)
        return 0
    rest = substr(rest, length(token) + 1)
    return 1
}

function keep(text) { printed = printed text "\n"; found++ }

# `on`: the path down to here is the wanted one so far.
function value(depth, on,    here, text) {
    here = on && depth == steps
    if (bad || depth > MAX_DEPTH)
        return fail()
    if (take("{"))
        return members(depth, on)
    if (take("["))
        return elements(depth, on)
    if (take("\"")) {
        text = string()
        if (here) keep(text)
        return
    }
    if (take("null"))
        return
    if (match(rest, /^(true|false|-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?)/) == 0)
        return fail()
    text = substr(rest, 1, RLENGTH)
    rest = substr(rest, RLENGTH + 1)
    if (here) keep(text)
}

function wanted(depth, on, name) {
    return on && depth < steps && (step[depth + 1] == "*" || step[depth + 1] "" == name "")
}

function members(depth, on,    name) {
    if (take("}"))
        return
    do {
        if (!take("\""))
            return fail()
        name = string()
        if (!take(":"))
            return fail()
        value(depth + 1, wanted(depth, on, name))
    } while (!bad && take(","))
    if (!take("}"))
        fail()
}

function elements(depth, on,    position) {
    if (take("]"))
        return
    do
        value(depth + 1, wanted(depth, on, position++ + 0))
    while (!bad && take(","))
    if (!take("]"))
        fail()
}

# The rest of a string whose opening quote has been taken.
function string(    text, mark) {
    while (match(rest, /["\\]/)) {
        mark = substr(rest, RSTART, 1)
        text = text substr(rest, 1, RSTART - 1)
        rest = substr(rest, RSTART + 1)
        if (mark == "\"")
            return text
        mark = substr(rest, 1, 1)
        rest = substr(rest, 2)
        if (mark == "u")
            text = text character()
        else if (mark in escape)
            text = text escape[mark]
        else
            return fail()
    }
    return fail()
}

function four_digits(    code, i, one) {
    for (i = 1; i <= 4; i++) {
        one = substr(rest, i, 1)
        if (one == "" || !(one in digit)) {
            fail()
            return 0
        }
        code = code * 16 + digit[one]
    }
    rest = substr(rest, 5)
    return code
}

# The character that four digits name, as UTF-8; characters beyond the first plane come as two such halves.
function character(    code, low) {
    code = four_digits()
    if (code >= 55296 && code < 56320 && substr(rest, 1, 2) == "\\u") {
        rest = substr(rest, 3)
        low = four_digits()
        if (low >= 56320 && low < 57344)
            return utf8(65536 + (code - 55296) * 1024 + low - 56320)
        return utf8(65533) utf8(low)
    }
    # Half a pair names no character.
    if (code >= 55296 && code < 57344)
        code = 65533
    return utf8(code)
}

# No value can hold a zero byte here, so U+0000 is dropped.
function utf8(code) {
    if (code == 0) return ""
    if (code < 128) return sprintf("%c", code)
    if (code < 2048) return sprintf("%c%c", 192 + int(code / 64), 128 + code % 64)
    if (code < 65536)
        return sprintf("%c%c%c", 224 + int(code / 4096), 128 + int(code / 64) % 64, 128 + code % 64)
    return sprintf("%c%c%c%c", 240 + int(code / 262144), 128 + int(code / 4096) % 64, \
        128 + int(code / 64) % 64, 128 + code % 64)
}
