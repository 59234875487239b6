/* Loops over lists that make columns of what decoders give: what spans/primitives.py does in Python,
 * in a third of the time. They know nothing of spans or protocols, hold no state and raise what the
 * Python functions raise. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
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

static PyMethodDef methods[] = {
    {"codes", codes, METH_VARARGS, NULL},
    {"longs", longs, METH_O, NULL},
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
