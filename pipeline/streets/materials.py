"""Names shared by the built-in streets' geometry and its two painters: classes and materials."""

from enum import IntEnum


class Label(IntEnum):
    """Class ids of CamVid's eleven classes (Brostow 2009, in the order of the SegNet release)."""

    SKY = 0
    BUILDING = 1
    POLE = 2
    ROAD = 3
    PAVEMENT = 4
    TREE = 5
    SIGN = 6
    FENCE = 7
    CAR = 8
    PEDESTRIAN = 9
    BICYCLIST = 10


class Material(IntEnum):
    """What a pixel is made of; at most 64, for it is kept in six bits."""

    SKY = 0
    CLOUD = 1
    ROAD = 2
    MARKING = 3
    PAVEMENT = 4
    JOINT = 5
    KERB = 6
    WALL = 7
    TRIM = 8
    WINDOW = 9
    SHOP = 10
    ROOF = 11
    DOOR = 12
    BARK = 13
    LEAF = 14
    POLE = 15
    LAMP = 16
    SIGN = 17
    SIGN_FACE = 18
    SIGNAL = 19
    FENCE = 20
    BODY = 21
    GLASS = 22
    TYRE = 23
    HEADLIGHT = 24
    TAILLIGHT = 25
    PLATE = 26
    SKIN = 27
    HAIR = 28
    TOP = 29
    TROUSERS = 30
    BIKE = 31
    SKYLINE = 32
    AWNING = 33
