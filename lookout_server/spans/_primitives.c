/* Loops over lists that make columns of what decoders give: what spans/primitives.py does in Python,
 * in a third of the time. They know nothing of spans or protocols, hold no state and raise what the
 * Python functions raise. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* New bytes for ``count`` items of ``size`` bytes, and where they begin. */
static PyObject *room(Py_ssize_t count, Py_ssize_t size, char **start) {
    PyObject *made = NULL;
    if (count > PY_SSIZE_T_MAX / size - 64)
        return PyErr_NoMemory();
    made = PyBytes_FromStringAndSize(NULL, count * size);
    if (made != NULL)
        *start = PyBytes_AS_STRING(made);
    return made;
}

static int is_list(PyObject *object, const char *what) {
    if (PyList_Check(object))
        return 1;
    PyErr_Format(PyExc_TypeError, "%s must be a list", what);
    return 0;
}

static PyObject *codes(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *numbers, *texts, *made;
    char *at = NULL;
    if (!PyArg_ParseTuple(args, "O!O:codes", &PyDict_Type, &numbers, &texts) ||
        !is_list(texts, "texts"))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(texts);
    if ((made = room(count, sizeof(int32_t), &at)) == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count && i < PyList_GET_SIZE(texts); i++, at += sizeof(int32_t)) {
        PyObject *text = PyList_GET_ITEM(texts, i);
        PyObject *number = PyDict_GetItemWithError(numbers, text);
        long value = number == NULL ? -1 : PyLong_AsLong(number);
        if (number == NULL && !PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, text);
        if (value == -1 && PyErr_Occurred()) {
            Py_DECREF(made);
            return NULL;
        }
        int32_t code = (int32_t)value;
        memcpy(at, &code, sizeof code);
    }
    return made;
}

static PyObject *longs(PyObject *Py_UNUSED(module), PyObject *numbers) {
    PyObject *made;
    char *at = NULL;
    if (!is_list(numbers, "numbers"))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(numbers);
    if ((made = room(count, sizeof(int64_t), &at)) == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++, at += sizeof(int64_t)) {
        PyObject *number = PyList_GET_ITEM(numbers, i);
        int64_t value = number == Py_None ? 0 : PyLong_AsLongLong(number);
        if (value == -1 && PyErr_Occurred()) {
            Py_DECREF(made);
            return NULL;
        }
        memcpy(at, &value, sizeof value);
    }
    return made;
}

/* What each character stands for as a hex digit in lower case; 16 for all others. */
static unsigned char digit_of[256];

static void learn_digits(void) {
    memset(digit_of, 16, sizeof digit_of);
    for (int digit = 0; digit < 16; digit++)
        digit_of[(unsigned char)"0123456789abcdef"[digit]] = (unsigned char)digit;
}

static int unhex(const unsigned char *text, uint64_t *number) {
    unsigned char seen = 0;
    uint64_t value = 0;
    for (int i = 0; i < 16; i++) {
        unsigned char digit = digit_of[text[i]];
        seen |= digit;
        value = value << 4 | digit;
    }
    *number = value;
    return seen < 16;
}

static PyObject *unhexed(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *texts, *made;
    Py_ssize_t digits;
    char *at = NULL;
    if (!PyArg_ParseTuple(args, "On:unhexed", &texts, &digits) || !is_list(texts, "texts"))
        return NULL;
    if (digits <= 0 || digits % 16 || digits > 1024) {
        PyErr_SetString(PyExc_ValueError, "digits must be some sixteens");
        return NULL;
    }
    Py_ssize_t count = PyList_GET_SIZE(texts);
    if ((made = room(count, digits / 2, &at)) == NULL)
        return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *text = PyList_GET_ITEM(texts, i);
        int good = PyUnicode_Check(text) && PyUnicode_IS_COMPACT_ASCII(text) &&
                   PyUnicode_GET_LENGTH(text) == digits;
        for (Py_ssize_t place = 0; good && place < digits; place += 16, at += sizeof(uint64_t)) {
            uint64_t number;
            good = unhex((const unsigned char *)PyUnicode_1BYTE_DATA(text) + place, &number);
            memcpy(at, &number, sizeof number);
        }
        if (!good) {
            Py_DECREF(made);
            return PyErr_Format(PyExc_ValueError, "expected %zd hex digits, got %.100R", digits,
                                text);
        }
    }
    return made;
}

/* Keys of a dictionary as a tuple; they and the values also go to the ends of the two lists. */
static PyObject *taken_apart(PyObject *dict, PyObject *keys, PyObject *values) {
    PyObject *key, *value, *made = PyTuple_New(PyDict_GET_SIZE(dict));
    Py_ssize_t place = 0, count = 0;
    while (made != NULL && PyDict_Next(dict, &place, &key, &value)) {
        PyTuple_SET_ITEM(made, count++, Py_NewRef(key));
        if (PyList_Append(keys, key) < 0 || PyList_Append(values, value) < 0)
            Py_CLEAR(made);
    }
    return made;
}

static PyObject *unnested(PyObject *Py_UNUSED(module), PyObject *dicts) {
    if (!is_list(dicts, "dicts"))
        return NULL;
    Py_ssize_t count = PyList_GET_SIZE(dicts);
    PyObject *sets = PyList_New(count), *keys = PyList_New(0), *values = PyList_New(0);
    int good = sets != NULL && keys != NULL && values != NULL;
    for (Py_ssize_t i = 0; good && i < count; i++) {
        PyObject *dict = PyList_GET_ITEM(dicts, i), *set = NULL;
        if (PyDict_Check(dict))
            set = taken_apart(dict, keys, values);
        else
            PyErr_SetString(PyExc_TypeError, "each of dicts must be a dict");
        good = set != NULL;
        if (good)
            PyList_SET_ITEM(sets, i, set);
    }
    PyObject *made = good ? PyTuple_Pack(3, sets, keys, values) : NULL;
    Py_XDECREF(sets);
    Py_XDECREF(keys);
    Py_XDECREF(values);
    return made;
}

/* -- distinct pairs of a prefix and a text ------------------------------------------------------- */

typedef struct {
    uint64_t hash;
    const char *text;
    size_t size;
    int32_t prefix;
} Pair;

/* Which pairs have come, by their hash: the number of each and one more, 0 where there is none. */
typedef struct {
    uint32_t *places;
    size_t mask; /* of a power of two */
    Pair *pairs; /* in the order they came */
    size_t count;
    size_t steps; /* past places of others */
} Pairs;

static uint64_t mixed(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
    return hash ^ hash >> 29;
}

static uint64_t hashed(const char *text, size_t size, int32_t prefix) {
    uint64_t word = 0, hash = mixed(size, (uint64_t)prefix);
    for (; size >= 8; text += 8, size -= 8) {
        memcpy(&word, text, 8);
        hash = mixed(hash, word);
    }
    for (word = 0; size > 0; size--)
        word = word << 8 | (unsigned char)*text++;
    return mixed(hash, word);
}

static int is_same(const Pair *one, const Pair *other) {
    return one->hash == other->hash && one->size == other->size &&
           one->prefix == other->prefix && memcmp(one->text, other->text, one->size) == 0;
}

/* Where the pair is, or would be. */
static uint32_t *place_of(Pairs *known, const Pair *pair) {
    for (size_t at = pair->hash >> 20;; at++, known->steps++) {
        uint32_t *place = &known->places[at & known->mask];
        if (*place == 0 || is_same(&known->pairs[*place - 1], pair))
            return place;
    }
}

static int widen(Pairs *known) {
    size_t mask = known->places == NULL ? 4095 : known->mask * 4 + 3;
    uint32_t *places = calloc(mask + 1, sizeof *places);
    if (places == NULL)
        return 0;
    free(known->places);
    known->places = places;
    known->mask = mask;
    for (size_t i = 0; i < known->count; i++)
        *place_of(known, &known->pairs[i]) = (uint32_t)i + 1;
    return 1;
}

enum { FINE, NO_MEMORY, UNEVEN, CROWDED };

/* Numbers of the pairs. Texts that were made to collide are given up: a way without that is left. */
static int number_pairs(Pairs *known, const char *prefixes, size_t count, const char *text,
                        const char *end, char *numbers) {
    for (size_t i = 0; i < count; i++) {
        const char *stop = text == end ? NULL : memchr(text, '\0', (size_t)(end - text));
        if (stop == NULL)
            return UNEVEN;
        if (known->count * 2 >= known->mask && !widen(known))
            return NO_MEMORY;
        Pair pair = {0, text, (size_t)(stop - text), 0};
        memcpy(&pair.prefix, prefixes + i * sizeof pair.prefix, sizeof pair.prefix);
        pair.hash = hashed(pair.text, pair.size, pair.prefix);
        uint32_t *place = place_of(known, &pair);
        if (*place == 0) {
            known->pairs[known->count++] = pair;
            *place = (uint32_t)known->count;
        }
        int32_t number = (int32_t)(*place - 1);
        memcpy(numbers + i * sizeof number, &number, sizeof number);
        text = stop + 1;
        if (known->steps > 16 * count + 100000)
            return CROWDED;
    }
    return text == end ? FINE : UNEVEN;
}

/* Where each pair ends, after a zero, and all of them one after the other. */
static PyObject *joined_pairs(PyObject *prefixes, const Pairs *known) {
    char *ends = NULL, *start = NULL, *to;
    size_t size = 0;
    for (size_t i = 0; i < known->count; i++)
        size += known->pairs[i].size +
                (size_t)PyBytes_GET_SIZE(PyList_GET_ITEM(prefixes, known->pairs[i].prefix));
    if (size > INT32_MAX)
        return PyErr_Format(PyExc_OverflowError, "%zu bytes of texts, at most 2 GiB", size);
    PyObject *places = room((Py_ssize_t)known->count + 1, sizeof(int32_t), &ends);
    PyObject *joined = room((Py_ssize_t)size, 1, &start);
    if (places == NULL || joined == NULL) {
        Py_XDECREF(places);
        Py_XDECREF(joined);
        return NULL;
    }
    to = start;
    memset(ends, 0, sizeof(int32_t));
    for (size_t i = 0; i < known->count; i++) {
        PyObject *prefix = PyList_GET_ITEM(prefixes, known->pairs[i].prefix);
        memcpy(to, PyBytes_AS_STRING(prefix), (size_t)PyBytes_GET_SIZE(prefix));
        to += PyBytes_GET_SIZE(prefix);
        memcpy(to, known->pairs[i].text, known->pairs[i].size);
        to += known->pairs[i].size;
        int32_t end = (int32_t)(to - start);
        memcpy(ends + (i + 1) * sizeof end, &end, sizeof end);
    }
    return Py_BuildValue("NN", places, joined);
}

static int are_prefixes(PyObject *prefixes, const char *codes, size_t count) {
    for (Py_ssize_t i = 0; i < PyList_GET_SIZE(prefixes); i++)
        if (!PyBytes_Check(PyList_GET_ITEM(prefixes, i))) {
            PyErr_SetString(PyExc_TypeError, "each of prefixes must be bytes");
            return 0;
        }
    for (size_t i = 0; i < count; i++) {
        int32_t code;
        memcpy(&code, codes + i * sizeof code, sizeof code);
        if (code < 0 || code >= PyList_GET_SIZE(prefixes)) {
            PyErr_SetString(PyExc_IndexError, "there is no such prefix");
            return 0;
        }
    }
    return 1;
}

static PyObject *numbered(PyObject *prefixes, const Py_buffer *codes, const Py_buffer *texts) {
    size_t count = (size_t)codes->len / sizeof(int32_t);
    Pairs known = {NULL, 0, malloc((count + 1) * sizeof(Pair)), 0, 0};
    PyObject *made = NULL, *joined = NULL, *numbers;
    char *at = NULL;
    int wrong = NO_MEMORY;
    if ((numbers = room((Py_ssize_t)count, sizeof(int32_t), &at)) != NULL && known.pairs != NULL) {
        Py_BEGIN_ALLOW_THREADS
        const char *text = texts->buf;
        wrong = number_pairs(&known, codes->buf, count, text, text + texts->len, at);
        Py_END_ALLOW_THREADS
    }
    if (wrong == FINE && (joined = joined_pairs(prefixes, &known)) != NULL)
        made = PyTuple_Pack(3, numbers, PyTuple_GET_ITEM(joined, 0), PyTuple_GET_ITEM(joined, 1));
    else if (wrong == CROWDED)
        made = Py_NewRef(Py_None);
    else if (wrong == UNEVEN)
        PyErr_SetString(PyExc_ValueError, "there must be a text, ended by a NUL, for each code");
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    Py_XDECREF(numbers);
    Py_XDECREF(joined);
    free(known.places);
    free(known.pairs);
    return made;
}

static PyObject *pairs(PyObject *Py_UNUSED(module), PyObject *args) {
    PyObject *prefixes, *made = NULL;
    Py_buffer codes, texts;
    if (!PyArg_ParseTuple(args, "O!y*y*:pairs", &PyList_Type, &prefixes, &codes, &texts))
        return NULL;
    /* A list of its own: others may run meanwhile. */
    if ((prefixes = PyList_GetSlice(prefixes, 0, PY_SSIZE_T_MAX)) != NULL &&
        are_prefixes(prefixes, codes.buf, (size_t)codes.len / sizeof(int32_t)))
        made = numbered(prefixes, &codes, &texts);
    Py_XDECREF(prefixes);
    PyBuffer_Release(&codes);
    PyBuffer_Release(&texts);
    return made;
}

static PyMethodDef methods[] = {
    {"codes", codes, METH_VARARGS, NULL},
    {"longs", longs, METH_O, NULL},
    {"pairs", pairs, METH_VARARGS, NULL},
    {"unhexed", unhexed, METH_VARARGS, NULL},
    {"unnested", unnested, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_primitives",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__primitives(void) {
    learn_digits();
    return PyModuleDef_Init(&definition);
}
