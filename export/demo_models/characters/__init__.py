"""Characters: smooth three-dimensional heads, and their cartoons.

person.py             traits as smooth functions of a code, and what varies beside them
head.py               the mesh and the directions in which it changes, from head.npz (written by make_head.py)
shape.py              the mesh of one person; direction_weights.py says how far each direction is used
body.py, features.py, hair.py, glasses.py    the parts of a scene (parts.py)
scene.py              all parts, turned, projected, and placed as an FFHQ crop
rasteriser.py         which triangle is seen at each sample
surface.py            what the seen points are, from which both kinds of picture are coloured
light.py, colours.py  what falls on them, and what they reflect
photo_surface.py, toon_surface.py    the two kinds of picture
render.py             the result; measures.py measures it
"""
